//! Which handler has the loop, for the stall watcher. Only a channel of a loop that is watched comes here: its `attention`
//! says so (`attention::WATCHED`), and with it events take a walk of their own (`Core::walk_watched`) and operations the
//! long way.

use super::super::core::{Core, Handler, attention};
use super::super::mask::{self, Mask};
use super::super::node::{Index, Node};
use crate::event_loop::{Held, Role};

impl Core {
    /// A handler is called by the walk; the next one that is called takes over from it.
    #[cold]
    #[inline(never)]
    pub(super) fn note_visit(&self, node: &Node<dyn Handler>, callback: &'static str) {
        if let Some(sentry) = self.lp.sentry() {
            sentry.note_handler(node.kind().name(), callback, self.face().id().as_u64());
        }
    }

    /// The same for the callback of an event.
    #[inline]
    pub(super) fn note_event(&self, node: &Node<dyn Handler>, bit: Mask) {
        self.note_visit(node, mask::name(bit));
    }

    /// A handler is called by `work`, from anywhere; its caller goes on afterwards. Not inlined, so that those who are not
    /// watched have no more than a test.
    #[cold]
    #[inline(never)]
    pub(super) fn named<R>(
        &self,
        index: Index,
        callback: &'static str,
        work: impl FnOnce() -> R,
    ) -> R {
        let _held = self.lp.sentry().map(|sentry| {
            let name = self.nodes.get(index).kind().name();
            sentry.hold_for_handler(name, callback, self.face().id().as_u64())
        });
        work()
    }

    /// Whether handlers are named at all.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        self.attention.get() & attention::WATCHED != 0
    }

    /// The walk has the loop, and after each callback the channel.
    #[inline]
    pub(super) fn hold_for_walk(&self) -> Option<Held<'_>> {
        let sentry = self.lp.sentry()?;
        Some(sentry.hold_for_channel(self.face().id().as_u64()))
    }

    /// A listener of one of the channel's promises runs.
    pub(crate) fn hold_for_listener(&self, name: &'static str) -> Option<Held<'_>> {
        let sentry = self.lp.sentry()?;
        Some(sentry.hold_for_job(Role::Listener, name))
    }
}
