//! [`ChannelOption`]: an option and the type of its values.

use std::fmt;
use std::marker::PhantomData;

use super::id::{OptionId, SocketOption};
use super::value::{OptionType, OptionValue};
use crate::error::Error;

/// An option with values of type `T`: a constant of this module, or one of a user's own
/// ([`named`](ChannelOption::named)).
///
/// ```
/// use std::time::Duration;
/// use tidegate::channel::options::{CONNECT_TIMEOUT, OptionSet, SO_BACKLOG, TCP_NODELAY};
///
/// let mut options = OptionSet::new();
/// options.set(TCP_NODELAY, true)?;
/// options.set(CONNECT_TIMEOUT, Duration::from_secs(3))?;
/// assert_eq!(options.get(TCP_NODELAY), Some(true));
///
/// let error = options.set(SO_BACKLOG, -1).unwrap_err();
/// assert_eq!(error.to_string(), "option SO_BACKLOG: -1 is outside 0..=2147483647");
/// # Ok::<(), tidegate::error::Error>(())
/// ```
pub struct ChannelOption<T> {
    id: OptionId,
    value: PhantomData<fn() -> T>,
}

impl<T: OptionType> ChannelOption<T> {
    pub(super) const fn builtin(id: OptionId) -> Self {
        Self {
            id,
            value: PhantomData,
        }
    }

    /// An option of a user's own transport. Two with equal names are the same option; it is never one
    /// of this crate's, whatever its name.
    pub const fn named(name: &'static str) -> Self {
        Self::builtin(OptionId::Custom(name))
    }

    /// An option of sockets that this crate does not list, by its level and number on this system: with bytes for a value,
    /// as [`Bytes`](bytes::Bytes), or as a type whose [`OptionType`] makes it from `OptionValue::Bytes` and back. Reading it
    /// gives as many bytes as the kernel has to tell, at most 1,024; at most 64 can be set. Transports that are sockets take
    /// it. What the channel ought to know of (that the socket does not block, its time-outs) is better left alone.
    ///
    /// ```
    /// use tidegate::buffer::Bytes;
    /// use tidegate::channel::options::ChannelOption;
    ///
    /// // Linux: IPPROTO_TCP is 6, TCP_CONGESTION is 13.
    /// const TCP_CONGESTION: ChannelOption<Bytes> = ChannelOption::raw_unix("TCP_CONGESTION", 6, 13);
    /// # let mut options = tidegate::OptionSet::new();
    /// options.set(TCP_CONGESTION, Bytes::from_static(b"cubic"))?;
    /// # Ok::<(), tidegate::error::Error>(())
    /// ```
    pub const fn raw_unix(name: &'static str, level: i32, number: i32) -> Self {
        Self::builtin(OptionId::RawUnix(SocketOption::new(name, level, number)))
    }

    /// Which option it is, without the type.
    pub const fn id(self) -> OptionId {
        self.id
    }

    /// The name, as in the manuals: `"TCP_NODELAY"`.
    pub const fn name(self) -> &'static str {
        self.id.name()
    }

    /// The value with its type erased.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument), with option, value and
    /// range, if it is out of range.
    pub fn erase(self, value: T) -> Result<OptionValue, Error> {
        let value = value.into_value();
        self.id.check(&value)?;
        Ok(value)
    }

    /// The value with its type again; `None` if it is of another type.
    pub fn restore(self, value: &OptionValue) -> Option<T> {
        T::from_value(value)
    }
}

impl ChannelOption<i32> {
    /// An option of sockets that this crate does not list, by its level and number on this system, with an integer for a
    /// value. Transports that are sockets take it.
    ///
    /// ```
    /// use tidegate::channel::options::ChannelOption;
    ///
    /// // Linux: SOL_SOCKET is 1, SO_MARK is 36.
    /// const SO_MARK: ChannelOption<i32> = ChannelOption::integer_unix("SO_MARK", 1, 36);
    /// assert_eq!(SO_MARK.name(), "SO_MARK");
    /// ```
    pub const fn integer_unix(name: &'static str, level: i32, number: i32) -> Self {
        Self::builtin(OptionId::IntegerUnix(SocketOption::new(
            name, level, number,
        )))
    }
}

impl<T> Clone for ChannelOption<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ChannelOption<T> {}

impl<T> fmt::Debug for ChannelOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelOption({})", self.id.name())
    }
}
