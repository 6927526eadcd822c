//! [`Post`]: where a loop posts what holds it. One writer, the loop; read by the watcher.
//!
//! The words belong together, and no lock keeps them so:
//!
//! 1. `change` is odd while the writer is at work, and another even number afterwards.
//! 2. The writer makes it odd before it touches a word (the release fence), and even when it has (the release store).
//! 3. A reader takes the words only if `change` was even before (the acquire load) and the same after (the acquire fence):
//!    had it seen a word of a later posting, it would see that one's odd number too.

use std::sync::atomic::Ordering;

use super::super::sync::{AtomicU64, fence, spin_loop};
use super::names;

/// Attempts of a reader. A writer is at work for nanoseconds; if it was interrupted there, another look comes. One in a loom
/// test, where every attempt is tried anyway.
const ATTEMPTS: u32 = if cfg!(all(loom, test)) { 1 } else { 8 };

/// What kind of foreign code it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Role {
    /// An event of a channel, while no handler has it: its transport.
    Channel,
    Handler,
    Task,
    Timer,
    Listener,
}

const ROLES: [Role; 5] = [
    Role::Channel,
    Role::Handler,
    Role::Task,
    Role::Timer,
    Role::Listener,
];

/// Who holds a loop, in two words.
///
/// | bits of `what` | |
/// |---|---|
/// | 0 to 7 | [`Role`] |
/// | 8 to 31 | the number of the callback's name, or 0 |
/// | 32 to 63 | the number of the type's name, or 0 |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Holder {
    what: u64,
    /// The channel's number, or 0.
    channel: u64,
}

impl Holder {
    pub(super) const NOBODY: Self = Self::channel(0);

    /// An event of a channel.
    pub(crate) const fn channel(channel: u64) -> Self {
        Self {
            what: Role::Channel as u64,
            channel,
        }
    }

    /// Names by their numbers.
    pub(super) fn new(role: Role, name: u32, callback: u32, channel: u64) -> Self {
        // A callback whose number does not fit stays unnamed.
        let callback = if callback < 1 << 24 { callback } else { 0 };
        Self {
            what: u64::from(name) << 32 | u64::from(callback) << 8 | role as u64,
            channel,
        }
    }

    pub(super) fn role(self) -> Role {
        ROLES
            .get((self.what & 0xFF) as usize)
            .copied()
            .unwrap_or(Role::Channel)
    }

    /// The type of the handler or of the task.
    pub(super) fn name(self) -> Option<&'static str> {
        names::name_of((self.what >> 32) as u32)
    }

    pub(super) fn callback(self) -> Option<&'static str> {
        names::name_of((self.what >> 8) as u32 & 0xFF_FFFF)
    }

    pub(super) fn channel_number(self) -> Option<u64> {
        Some(self.channel).filter(|channel| *channel != 0)
    }
}

impl Role {
    /// For logs.
    #[inline]
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Channel => "a channel",
            Self::Handler => "a handler",
            Self::Task => "a task",
            Self::Timer => "a timer",
            Self::Listener => "a listener",
        }
    }
}

/// What a loop has posted.
#[derive(Debug, Default)]
pub(crate) struct Post {
    change: AtomicU64,
    /// Which entry into foreign code it is, counted from 1; 0 outside of any.
    entry: AtomicU64,
    what: AtomicU64,
    channel: AtomicU64,
}

/// What a look finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    /// Another number with everything posted.
    pub(super) change: u64,
    /// 0 outside of foreign code.
    pub(super) entry: u64,
    pub(super) holder: Holder,
}

impl Post {
    /// By the loop's thread alone.
    #[inline]
    pub(super) fn put(&self, entry: u64, holder: Holder) {
        let change = self.change.load(Ordering::Relaxed);
        self.change.store(change.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.entry.store(entry, Ordering::Relaxed);
        self.what.store(holder.what, Ordering::Relaxed);
        self.channel.store(holder.channel, Ordering::Relaxed);
        self.change.store(change.wrapping_add(2), Ordering::Release);
    }

    /// By any thread; `None` if the loop was posting each time.
    pub(super) fn look(&self) -> Option<Look> {
        for _ in 0..ATTEMPTS {
            let change = self.change.load(Ordering::Acquire);
            let look = Look {
                change,
                entry: self.entry.load(Ordering::Relaxed),
                holder: Holder {
                    what: self.what.load(Ordering::Relaxed),
                    channel: self.channel.load(Ordering::Relaxed),
                },
            };
            fence(Ordering::Acquire);
            if change.is_multiple_of(2) && self.change.load(Ordering::Relaxed) == change {
                return Some(look);
            }
            spin_loop();
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn a_holder_is_what_it_was_made_of() {
        let (name, callback) = (names::number_of("Echo"), names::number_of("channel_read"));
        let holder = Holder::new(Role::Handler, name, callback, 7);
        assert_eq!(holder.role(), Role::Handler);
        assert_eq!(holder.name(), Some("Echo"));
        assert_eq!(holder.callback(), Some("channel_read"));
        assert_eq!(holder.channel_number(), Some(7));
        assert_eq!(Holder::channel(7).name(), None);
        assert_eq!(Holder::NOBODY.channel_number(), None);
        for role in ROLES {
            assert_eq!(Holder::new(role, 0, 0, 0).role(), role);
        }
    }

    /// The words of each posting are copies of one number.
    #[test]
    fn a_reader_never_sees_parts_of_two_postings() {
        let post = Arc::new(Post::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (post, is_over) = (Arc::clone(&post), Arc::clone(&is_over));
            move || {
                let mut seen = 0;
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let Some(look) = post.look() else { continue };
                    assert_eq!(look.holder.what, look.entry);
                    assert_eq!(look.holder.channel, look.entry);
                    assert_eq!(look.change, 2 * look.entry);
                    assert!(look.entry >= last);
                    seen += u64::from(look.entry != last);
                    last = look.entry;
                }
                seen
            }
        });
        let mut n = 0;
        while n < 200_000 {
            n += 1;
            post.put(
                n,
                Holder {
                    what: n,
                    channel: n,
                },
            );
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().expect("no look was torn");
        assert_eq!(post.look().map(|look| look.entry), Some(n));
    }
}
