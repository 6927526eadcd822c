//! [`Sentry`]: the loop's side of the watch. Loop-confined; it posts what foreign code the loop is in.

use std::any::Any;
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use super::names;
use super::post::{Holder, Post, Role};
use crate::reactor::{IoEvent, IoHandle};

/// Names that are at hand; a power of two. A loop is in the same dozen most of the time.
const NAMES_AT_HAND: usize = 64;

/// What a loop that is watched posts with.
pub(crate) struct Sentry {
    post: Arc<Post>,
    /// How often foreign code was entered.
    entries: Cell<u64>,
    /// What is posted. `entry` is 0 outside of foreign code.
    entry: Cell<u64>,
    holder: Cell<Holder>,
    /// By address, so that a name costs no lock and no hash of its text.
    at_hand: [Cell<(&'static str, u32)>; NAMES_AT_HAND],
}

/// Somebody holds the loop as long as this lives; then it is again who did before.
#[must_use = "the loop is held for as long as this lives"]
pub(crate) struct Held<'a> {
    sentry: &'a Sentry,
    entry: u64,
    holder: Holder,
}

impl Sentry {
    pub(super) fn new(post: Arc<Post>) -> Self {
        Self {
            post,
            entries: Cell::new(0),
            entry: Cell::new(0),
            holder: Cell::new(Holder::NOBODY),
            at_hand: [const { Cell::new(("", 0)) }; NAMES_AT_HAND],
        }
    }

    /// A channel has an event: an entry into foreign code, unless the loop is in one. 0 stands for a channel that is not
    /// known yet.
    pub(crate) fn hold_for_channel(&self, channel: u64) -> Held<'_> {
        self.hold(Holder::channel(channel))
    }

    /// A task, a timer or a listener of that type runs.
    pub(crate) fn hold_for_job(&self, role: Role, name: &'static str) -> Held<'_> {
        self.hold(Holder::new(role, self.number_of(name), 0, 0))
    }

    /// A handler is called, and its caller goes on afterwards. `callback` may be empty.
    pub(crate) fn hold_for_handler(
        &self,
        name: &'static str,
        callback: &'static str,
        channel: u64,
    ) -> Held<'_> {
        self.hold(self.handler(name, callback, channel))
    }

    /// A handler is called after another one, under the same [`Held`].
    pub(crate) fn note_handler(&self, name: &'static str, callback: &'static str, channel: u64) {
        self.put(self.entry.get(), self.handler(name, callback, channel));
    }

    /// A handle whose events are posted.
    pub(crate) fn watched(
        self: &Rc<Self>,
        handle: Rc<dyn IoHandle>,
        channel: u64,
    ) -> Rc<dyn IoHandle> {
        Rc::new(WatchedHandle {
            sentry: Rc::clone(self),
            handle,
            channel,
        })
    }

    fn hold(&self, holder: Holder) -> Held<'_> {
        let held = Held {
            sentry: self,
            entry: self.entry.get(),
            holder: self.holder.get(),
        };
        let mut entry = held.entry;
        if entry == 0 {
            entry = self.entries.get() + 1;
            self.entries.set(entry);
        }
        self.put(entry, holder);
        held
    }

    fn put(&self, entry: u64, holder: Holder) {
        self.entry.set(entry);
        self.holder.set(holder);
        self.post.put(entry, holder);
    }

    fn handler(&self, name: &'static str, callback: &'static str, channel: u64) -> Holder {
        let callback = if callback.is_empty() {
            0
        } else {
            self.number_of(callback)
        };
        Holder::new(Role::Handler, self.number_of(name), callback, channel)
    }

    fn number_of(&self, name: &'static str) -> u32 {
        let address = name.as_ptr().addr();
        let place = &self.at_hand[(address >> 3 ^ address >> 9) % NAMES_AT_HAND];
        let (known, number) = place.get();
        if ptr::eq(known, name) {
            return number;
        }
        let number = names::number_of(name);
        place.set((name, number));
        number
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.sentry.put(self.entry, self.holder);
    }
}

/// What a watched loop registers in the place of a handle, so that one that is not watched need not even ask.
struct WatchedHandle {
    sentry: Rc<Sentry>,
    handle: Rc<dyn IoHandle>,
    channel: u64,
}

impl IoHandle for WatchedHandle {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        let _held = self.sentry.hold_for_channel(self.channel);
        Rc::clone(&self.handle).on_event(event);
    }

    fn approach(&self) {
        self.handle.approach();
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        Rc::clone(&self.handle).into_any()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn holders_nest_and_come_back() {
        let post = Arc::new(Post::default());
        let sentry = Sentry::new(Arc::clone(&post));
        let now = || {
            let look = post.look().expect("nobody is posting");
            (look.entry, look.holder.role(), look.holder.name())
        };
        assert_eq!(now().0, 0);
        {
            let _event = sentry.hold_for_channel(7);
            assert_eq!(now(), (1, Role::Channel, None));
            sentry.note_handler("A", "channel_read", 7);
            assert_eq!(now(), (1, Role::Handler, Some("A")));
            {
                let _write = sentry.hold_for_handler("B", "write", 7);
                assert_eq!(now(), (1, Role::Handler, Some("B")));
            }
            assert_eq!(now(), (1, Role::Handler, Some("A")));
        }
        assert_eq!(now().0, 0, "the loop is its own again");
        {
            let _task = sentry.hold_for_job(Role::Task, "T");
            assert_eq!(now(), (2, Role::Task, Some("T")));
            let _event = sentry.hold_for_channel(8);
            assert_eq!(now(), (2, Role::Channel, None), "the same entry");
        }
        assert_eq!(now().0, 0);
        drop(sentry.hold_for_job(Role::Timer, "T"));
        drop(sentry.hold_for_job(Role::Listener, "L"));
        assert_eq!(sentry.entries.get(), 4);
    }

    #[test]
    fn a_panic_lets_go_as_well() {
        let sentry = Sentry::new(Arc::default());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _task = sentry.hold_for_job(Role::Task, "T");
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(caught.is_err());
        assert_eq!(sentry.entry.get(), 0);
    }
}
