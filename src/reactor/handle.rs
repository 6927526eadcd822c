//! What the reactor and the loop know of a channel: [`IoHandle`]. Implemented by the channel floor;
//! nothing below it knows more.

use std::any::Any;
use std::rc::Rc;

use tidegate_sys::os::Ready;

/// Something of a loop that is told when it may go on.
///
/// Calls come from the loop's own turn, never from inside another call to a handle, and with no
/// borrow of reactor or loop held: a handle may register, deregister and queue as it likes.
pub(crate) trait IoHandle: 'static {
    /// Something happened.
    fn on_event(self: Rc<Self>, event: IoEvent);

    /// It will be told something soon: what it works on should be on its way into the cache by then. Nothing else may
    /// happen here.
    fn approach(&self) {}

    /// The handle as what it really is, for those who made it.
    fn into_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// Why a handle is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IoEvent {
    /// The kernel reports its descriptor ready.
    Ready(Ready),
    /// It was on the ready list: work was left over.
    Continue,
    /// It was in the root queue.
    Roots,
    /// The loop is closing: close now.
    Shutdown,
}
