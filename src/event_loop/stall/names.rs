//! The names of types, numbered for the whole process: a number fits into an atomic, and the thread that reads it there
//! finds the name again. Names are never forgotten; a program has some hundreds.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Names {
    by_number: Vec<&'static str>,
    numbers: HashMap<&'static str, u32>,
}

/// The number of a name. Never zero, and below 2^24 as long as there are fewer names.
pub(super) fn number_of(name: &'static str) -> u32 {
    let mut names = lock();
    if let Some(number) = names.numbers.get(name) {
        return *number;
    }
    names.by_number.push(name);
    let number = u32::try_from(names.by_number.len()).unwrap_or(0);
    names.numbers.insert(name, number);
    number
}

/// The name of a number; `None` for zero and for what was never given out.
pub(super) fn name_of(number: u32) -> Option<&'static str> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    lock().by_number.get(index).copied()
}

fn lock() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_is_found_by_it() {
        let (one, other) = (number_of("one"), number_of("other"));
        assert_ne!(one, other);
        assert_eq!((number_of("one"), name_of(one)), (one, Some("one")));
        assert_eq!(name_of(0), None);
        assert_eq!(name_of(u32::MAX), None);
    }
}
