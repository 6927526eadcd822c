//! The keys and their values: a hash map in a few parts with a lock each, so that several loops rarely meet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate::buffer::Bytes;

/// Enough that two loops are seldom in the same part; a power of two.
const PARTS: usize = 64;

type Part = HashMap<Box<[u8]>, Bytes>;

/// What all connections share.
pub struct Store {
    parts: Vec<Mutex<Part>>,
}

/// Why a value can't be counted up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCount {
    /// It is no number of 64 bits.
    NotAnInteger,
    /// It is the largest one.
    Overflow,
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The value of a key: a reference, not a copy.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.part(key).get(key).cloned()
    }

    /// Sets a value. It is copied: what comes from the wire is a slice of a receive buffer, and would keep all of that.
    pub fn set(&self, key: &[u8], value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        let mut part = self.part(key);
        match part.get_mut(key) {
            Some(old) => *old = value,
            None => drop(part.insert(key.into(), value)),
        }
    }

    /// Removes a key; whether it was there.
    pub fn remove(&self, key: &[u8]) -> bool {
        self.part(key).remove(key).is_some()
    }

    /// Adds one to the number under a key (no key counts as 0), and gives the sum.
    pub fn increment(&self, key: &[u8]) -> Result<i64, NoCount> {
        let mut part = self.part(key);
        let old = match part.get(key) {
            None => 0,
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or(NoCount::NotAnInteger)?,
        };
        let new = old.checked_add(1).ok_or(NoCount::Overflow)?;
        let value = Bytes::from(new.to_string());
        match part.get_mut(key) {
            Some(old) => *old = value,
            None => drop(part.insert(key.into(), value)),
        }
        Ok(new)
    }

    /// No operation leaves a part half changed, so one that panicked elsewhere does no harm.
    fn part(&self, key: &[u8]) -> MutexGuard<'_, Part> {
        // FNV-1a over the last bytes, where keys differ. Who knows it can put keys of his into one part, which costs
        // parallel loops their advantage and nothing else: the map in a part has a seeded hash of its own.
        let tail = &key[key.len().saturating_sub(8)..];
        let hash = tail.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        let part = &self.parts[hash as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_counted_and_removed() {
        let store = Store::new();
        assert_eq!(store.get(b"k"), None);
        assert_eq!(store.increment(b"k"), Ok(1));
        assert_eq!(store.increment(b"k"), Ok(2));
        assert_eq!(store.get(b"k").as_deref(), Some(&b"2"[..]));
        store.set(b"k", b"two");
        assert_eq!(store.increment(b"k"), Err(NoCount::NotAnInteger));
        store.set(b"k", i64::MAX.to_string().as_bytes());
        assert_eq!(store.increment(b"k"), Err(NoCount::Overflow));
        assert!(store.remove(b"k"));
        assert!(!store.remove(b"k"));
    }
}
