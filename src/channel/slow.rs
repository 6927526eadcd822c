//! Events that did not fit the one-slot fast path: further emissions of a callback, what waits below them, errors,
//! `after`, `resume`. Lent to a pipeline while it needs it.

use std::collections::VecDeque;

use super::node::Index;
use super::op::Op;
use super::spare::{Part, Spares};
use crate::buffer::Message;
use crate::error::Failure;

/// A list with room for more events than this is not kept.
const KEPT_MAX: usize = 64;

thread_local! {
    static SPARE: Spares<Slow> = const { Spares::new() };
}

/// What travels from head to tail without a payload, or with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Inbound {
    /// Nothing: the slot is free.
    None,
    /// The slot is not used because later emissions must queue behind those in the list.
    Spilled,
    Read,
    ReadComplete,
    Registered,
    Unregistered,
    Active,
    Inactive,
    UserEvent,
    Writability,
}

/// One event that waits. Indices name nodes; where the event goes is looked up when it is delivered.
pub(crate) enum Event {
    /// To the successor of the node.
    Plain(Inbound, Index),
    /// To the successor of the node.
    Message(Inbound, Index, Message),
    /// To the successor of the node.
    Exception(Index, Failure),
    /// To the node itself.
    ExceptionAt(Index, Failure),
    /// `handler_added` of the node, unless it has run meanwhile.
    Added(Index),
    /// `after(key)` of the node.
    After(Index, u64),
    /// `resume` of the node. `unparked`: it belongs to a chain that a read() set off; `emitted`: that chain has emitted.
    Resume {
        node: Index,
        unparked: bool,
        emitted: bool,
    },
    /// A read() that goes on from the node toward the head.
    ReadOp(Index),
}

/// A node at which operations wait.
pub(crate) struct Waited {
    pub(crate) at: Index,
    /// How many; 0 only while the last one is going on.
    pub(crate) ops: usize,
    /// They are going on, one after the other; who leaves the node meanwhile need not see to them.
    pub(crate) is_draining: bool,
}

/// See the module's page.
#[derive(Default)]
pub(crate) struct Slow {
    /// Emissions after the first of the callback that is running, in program order.
    pub(crate) list: Vec<Event>,
    /// What follows once they are handled: the error of the callback, `after`, `resume`.
    pub(crate) tail: Vec<Event>,
    /// What waits; the last is next.
    pub(crate) stack: Vec<Event>,
    /// Operations whose next hop is on the stack, in the order in which they came.
    pub(crate) waiting: VecDeque<(Index, Op)>,
    /// The nodes at which they wait, each once.
    pub(crate) waited: Vec<Waited>,
    /// Handlers that were taken out while they were on the stack.
    pub(crate) removed_busy: Vec<(Index, Option<Index>)>,
}

impl Part for Slow {
    fn bytes(&self) -> usize {
        let events = self.list.capacity() + self.tail.capacity() + self.stack.capacity();
        size_of::<Self>()
            + events * size_of::<Event>()
            + self.waiting.capacity() * size_of::<(Index, Op)>()
    }
}

impl Slow {
    pub(crate) fn lend() -> Box<Self> {
        Spares::take(&SPARE)
    }

    /// Nothing is left in it, and no operation is on its way from it.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_idle() && self.waited.is_empty()
    }

    /// Keeps it for the next pipeline that needs one.
    pub(crate) fn give_back(self: Box<Self>) {
        let events = [&self.list, &self.tail, &self.stack];
        let longest = events.map(Vec::capacity).into_iter().max();
        if longest.max(Some(self.waiting.capacity())) <= Some(KEPT_MAX) {
            Spares::give(&SPARE, self);
        }
    }

    /// Nothing in it is to be delivered.
    pub(crate) fn has_no_event(&self) -> bool {
        self.list.is_empty() && self.tail.is_empty() && self.stack.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.has_no_event() && self.waiting.is_empty() && self.removed_busy.is_empty()
    }
}
