//! Where -1 becomes an error and where EINTR is retried. Called by every file of this folder; it makes
//! no system call of its own.

use std::io;

/// In a simulation the answer is the simulated kernel's: the first form is for calls on a descriptor, which may be
/// a real one all the same, the second for calls that name none. With a name in front the call can be made to fail there
/// (`sim::Failing`); `once` names those after which EINTR is handed out. Without the feature `sim` this is nothing at all.
macro_rules! simulated {
    (once $name:literal, $fd:expr, |$kernel:ident, $file:ident| $call:expr) => {
        #[cfg(feature = "sim")]
        {
            crate::os::syscall::once(crate::os::sim::fate_on($name, $fd))?;
            crate::os::syscall::simulated!($fd, |$kernel, $file| $call);
        }
    };
    ($name:expr, $fd:expr, |$kernel:ident, $file:ident| $call:expr) => {
        #[cfg(feature = "sim")]
        {
            crate::os::syscall::retry(|| crate::os::sim::fate_on($name, $fd))?;
            crate::os::syscall::simulated!($fd, |$kernel, $file| $call);
        }
    };
    ($name:literal, |$kernel:ident| $call:expr) => {
        #[cfg(feature = "sim")]
        {
            crate::os::syscall::retry(|| crate::os::sim::fate($name))?;
            crate::os::syscall::simulated!(|$kernel| $call);
        }
    };
    ($fd:expr, |$kernel:ident, $file:ident| $call:expr) => {
        #[cfg(feature = "sim")]
        if let Some(answer) = crate::os::sim::on($fd, |$kernel, $file| $call) {
            return answer;
        }
    };
    (|$kernel:ident| $call:expr) => {
        #[cfg(feature = "sim")]
        if let Some(answer) = crate::os::sim::anywhere(|$kernel| $call) {
            return answer;
        }
    };
}
pub(super) use simulated;

/// What a system call answers with: a number of which -1 means "look at errno".
pub(super) trait ReturnValue: Copy {
    fn is_failure(self) -> bool;
}

impl ReturnValue for i32 {
    fn is_failure(self) -> bool {
        self == -1
    }
}

impl ReturnValue for i64 {
    fn is_failure(self) -> bool {
        self == -1
    }
}

impl ReturnValue for isize {
    fn is_failure(self) -> bool {
        self == -1
    }
}

/// Turns -1 into the error that errno names. EINTR is handed out too: for calls that must not be made
/// twice (connect) or whose time must be recomputed (waits).
#[inline]
pub(super) fn once<T: ReturnValue>(returned: T) -> io::Result<T> {
    if returned.is_failure() {
        Err(last_error())
    } else {
        Ok(returned)
    }
}

#[cold]
#[inline(never)]
fn last_error() -> io::Error {
    io::Error::last_os_error()
}

/// Makes the call until it ends with anything but EINTR.
#[inline(always)]
pub(super) fn retry<T: ReturnValue>(mut call: impl FnMut() -> T) -> io::Result<T> {
    loop {
        let returned = call();
        if !returned.is_failure() {
            return Ok(returned);
        }
        if let Some(error) = last_but_eintr() {
            return Err(error);
        }
    }
}

#[cold]
#[inline(never)]
fn last_but_eintr() -> Option<io::Error> {
    let error = io::Error::last_os_error();
    (error.raw_os_error() != Some(libc::EINTR)).then_some(error)
}

/// A byte count out of a call that [`once`] or [`retry`] has found good.
#[inline]
pub(super) fn count(returned: isize) -> usize {
    debug_assert!(returned >= 0, "a checked count is not negative");
    returned as usize
}

/// The size of a C structure as the type that the socket calls want.
pub(super) const fn socklen_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail_with(errno: i32) -> i32 {
        // SAFETY: close(-1) touches nothing; it is the plainest way to a failing call.
        let ret = unsafe { libc::close(-1) };
        nix::errno::Errno::from_raw(errno).set();
        ret
    }

    /// Rules: 4.1
    #[test]
    fn minus_one_is_the_errno() {
        let error = once(fail_with(libc::ENOTCONN)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
        assert_eq!(once(7_isize).unwrap(), 7);
    }

    /// Rules: 4.1
    #[test]
    fn eintr_is_retried_and_nothing_else_is() {
        let mut calls = 0;
        let answer = retry(|| {
            calls += 1;
            match calls {
                1 | 2 => fail_with(libc::EINTR),
                _ => 42,
            }
        });
        assert_eq!((answer.unwrap(), calls), (42, 3));

        let error = retry(|| fail_with(libc::EAGAIN)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
