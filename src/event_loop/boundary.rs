//! The catch boundary: every task and callback that a loop enters runs inside one, so that a panic ends
//! what panicked and nothing else. (With `panic = "abort"` the process ends instead; nothing here can
//! change that.)

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Runs `f`; a panic comes back as its text. A boxed `str` is two words, which come back in registers; a `String` would be
/// written to memory and read again for each event.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<str>> {
    // Unwind safety is each owner's: state of the loop is never left half changed while foreign code
    // runs, and a task that panicked is gone.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(describe)
}

#[cold]
fn describe(payload: Box<dyn Any + Send>) -> Box<str> {
    let text = match payload.downcast_ref::<&'static str>() {
        Some(text) => (*text).into(),
        None => match payload.downcast_ref::<String>() {
            Some(text) => text.as_str().into(),
            None => "a value that is no text".into(),
        },
    };
    // The payload's own destructor may panic; whatever comes of that is forgotten.
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_text() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(catch(|| panic!("plain")), Err::<(), _>("plain".into()));
        assert_eq!(
            catch(|| panic!("number {}", 7)),
            Err::<(), _>("number 7".into())
        );
        let odd = catch(|| panic::panic_any(7_u8));
        assert_eq!(odd, Err::<(), _>("a value that is no text".into()));
    }

    #[test]
    fn a_payload_whose_destructor_panics_is_no_way_out() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert!(catch(|| panic::panic_any(Bomb)).is_err());
    }
}
