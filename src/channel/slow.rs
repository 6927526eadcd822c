//! Events that did not fit the one-slot fast path: further emissions of a callback, what waits below them, errors,
//! `after`, `resume`. Allocated for a pipeline the first time it needs it.

use super::node::Index;
use super::op::Op;
use crate::buffer::Message;
use crate::error::Failure;
use std::collections::VecDeque;

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

impl Slow {
    pub(crate) fn is_idle(&self) -> bool {
        self.list.is_empty()
            && self.tail.is_empty()
            && self.stack.is_empty()
            && self.waiting.is_empty()
            && self.removed_busy.is_empty()
    }
}
