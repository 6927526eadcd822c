//! [`OptionSet`]: options with their values, in the order in which they are to be applied.

use std::fmt;

use super::value::{OptionType, OptionValue};
use super::{ChannelOption, OptionId};
use crate::error::Error;

/// An ordered collection of options, at most one value each.
///
/// The order is that of the first setting: a later value takes the place of the earlier one. Bootstraps
/// clone the set for each channel, so later changes do not reach channels that exist.
#[derive(Clone, Default)]
pub struct OptionSet {
    entries: Vec<(OptionId, OptionValue)>,
}

impl OptionSet {
    /// An empty set.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Sets an option.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument), with option, value and
    /// range, if the value is out of range; the set stays as it was.
    pub fn set<T: OptionType>(&mut self, option: ChannelOption<T>, value: T) -> Result<(), Error> {
        let value = option.erase(value)?;
        self.put(option.id(), value);
        Ok(())
    }

    /// Sets an option by its id.
    ///
    /// # Errors
    /// As for [`set`](OptionSet::set); also if the value is of the wrong type.
    pub fn set_erased(&mut self, id: OptionId, value: OptionValue) -> Result<(), Error> {
        id.check(&value)?;
        self.put(id, value);
        Ok(())
    }

    /// Removes an option, so that the channel's own default counts; true if it was set.
    pub fn remove(&mut self, id: OptionId) -> bool {
        match self.position(id) {
            Some(at) => {
                self.entries.remove(at);
                true
            }
            None => false,
        }
    }

    /// The value of an option, if it is set.
    pub fn get<T: OptionType>(&self, option: ChannelOption<T>) -> Option<T> {
        option.restore(self.get_erased(option.id())?)
    }

    /// The value of an option by its id, if it is set.
    pub fn get_erased(&self, id: OptionId) -> Option<&OptionValue> {
        Some(&self.entries[self.position(id)?].1)
    }

    /// All options, in the order in which they are to be applied.
    pub fn iter(&self) -> impl Iterator<Item = (OptionId, &OptionValue)> {
        self.entries.iter().map(|(id, value)| (*id, value))
    }

    /// How many options are set.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no option is set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, id: OptionId, value: OptionValue) {
        match self.position(id) {
            Some(at) => self.entries[at].1 = value,
            None => self.entries.push((id, value)),
        }
    }

    fn position(&self, id: OptionId) -> Option<usize> {
        self.entries.iter().position(|(other, _)| *other == id)
    }
}

impl fmt::Debug for OptionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.iter().map(|(id, value)| (id.name(), value));
        f.debug_map().entries(entries).finish()
    }
}
