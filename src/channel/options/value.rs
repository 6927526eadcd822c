//! Values of options with their type erased, and the types that may be values.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::RecvAllocator;
use crate::error::{Error, ErrorKind};

/// The value of an option with its type erased: what travels between bootstraps, channels and
/// transports.
#[derive(Clone)]
#[non_exhaustive]
pub enum OptionValue {
    /// On or off.
    Bool(bool),
    /// A count, a number of bytes, or what else the option says.
    Int(i32),
    /// A time; `None` where the option can be off.
    Duration(Option<Duration>),
    /// The water marks of the outbound buffer.
    WaterMark(WaterMark),
    /// How receive buffers are sized.
    Recv(RecvAllocator),
    /// What to do with clients for whom there is no descriptor.
    Overload(AcceptOverload),
    /// What an option of sockets has that this crate does not list.
    Bytes(Bytes),
    /// A value of a user's own type.
    Any(Arc<dyn Any + Send + Sync>),
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Bool(value) => value.fmt(f),
            OptionValue::Int(value) => value.fmt(f),
            OptionValue::Duration(Some(value)) => value.fmt(f),
            OptionValue::Duration(None) => f.write_str("off"),
            OptionValue::WaterMark(value) => value.fmt(f),
            OptionValue::Recv(value) => value.fmt(f),
            OptionValue::Overload(value) => value.fmt(f),
            OptionValue::Bytes(value) => value.fmt(f),
            OptionValue::Any(_) => f.write_str("a value of a user's own type"),
        }
    }
}

/// A type whose values can be those of an option.
///
/// For a type of one's own the default bodies are right:
///
/// ```
/// use tidegate::channel::options::{ChannelOption, OptionSet, OptionType};
///
/// #[derive(Clone, PartialEq, Debug)]
/// enum Parity { Even, Odd }
///
/// impl OptionType for Parity {}
///
/// const PARITY: ChannelOption<Parity> = ChannelOption::named("serial.PARITY");
///
/// let mut options = OptionSet::new();
/// options.set(PARITY, Parity::Odd)?;
/// assert_eq!(options.get(PARITY), Some(Parity::Odd));
/// # Ok::<(), tidegate::error::Error>(())
/// ```
pub trait OptionType: Any + Clone + Send + Sync {
    /// The value without its type.
    fn into_value(self) -> OptionValue {
        OptionValue::Any(Arc::new(self))
    }

    /// The value with its type again; `None` if it is of another type.
    fn from_value(value: &OptionValue) -> Option<Self> {
        match value {
            OptionValue::Any(value) => value.downcast_ref().cloned(),
            _ => None,
        }
    }
}

/// Implements [`OptionType`] for a type with a variant of its own in [`OptionValue`].
macro_rules! option_type {
    ($type:ty, $variant:ident) => {
        impl OptionType for $type {
            fn into_value(self) -> OptionValue {
                OptionValue::$variant(self)
            }

            fn from_value(value: &OptionValue) -> Option<Self> {
                match value {
                    OptionValue::$variant(value) => Some(*value),
                    _ => None,
                }
            }
        }
    };
}

option_type!(bool, Bool);
option_type!(i32, Int);
option_type!(Option<Duration>, Duration);
option_type!(WaterMark, WaterMark);
option_type!(RecvAllocator, Recv);
option_type!(AcceptOverload, Overload);

impl OptionType for Bytes {
    fn into_value(self) -> OptionValue {
        OptionValue::Bytes(self)
    }

    fn from_value(value: &OptionValue) -> Option<Self> {
        match value {
            OptionValue::Bytes(value) => Some(value.clone()),
            _ => None,
        }
    }
}

impl OptionType for Duration {
    fn into_value(self) -> OptionValue {
        OptionValue::Duration(Some(self))
    }

    fn from_value(value: &OptionValue) -> Option<Self> {
        match value {
            OptionValue::Duration(value) => *value,
            _ => None,
        }
    }
}

/// When a channel counts as writable, in bytes waiting in its outbound buffer: above `high` it is not,
/// until it is below `low` again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaterMark {
    /// low <= high
    low: usize,
    high: usize,
}

impl WaterMark {
    /// Marks at `low` and `high` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if `low` is above `high`.
    pub fn new(low: usize, high: usize) -> Result<Self, Error> {
        if low > high {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("water marks: low is {low} bytes, which is outside 0..={high} (high)"),
            ));
        }
        Ok(Self { low, high })
    }

    /// The channel is writable again when fewer bytes than this wait.
    pub const fn low(self) -> usize {
        self.low
    }

    /// The channel is not writable when more bytes than this wait.
    pub const fn high(self) -> usize {
        self.high
    }
}

/// 32 KiB and 64 KiB.
impl Default for WaterMark {
    fn default() -> Self {
        Self {
            low: 32 * 1024,
            high: 64 * 1024,
        }
    }
}

/// What a server does with clients for whom there is no descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AcceptOverload {
    /// Stop accepting until a descriptor is free. Clients wait in the backlog.
    #[default]
    Pause,
    /// Accept and close at once, with a descriptor held in reserve, up to 16 clients per pause. Clients
    /// learn at once that there is no room.
    Shed,
}
