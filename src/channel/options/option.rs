//! [`ChannelOption`]: an option and the type of its values.

use std::fmt;
use std::marker::PhantomData;

use super::id::OptionId;
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
