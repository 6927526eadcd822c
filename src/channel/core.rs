//! The loop's side of a channel: its transport, its outbound buffer, its pipeline, and where it stands in life.
//!
//! One `Rc` per channel, never locked, never left by its loop's thread. Everything enters through [`Core::enter`],
//! which is a catch boundary and runs what the entry caused: first the trampoline, then the root queue.
//!
//! Handler, context and core need each other, so they are defined together; the files beside hold what they do.
//!
//! Borrows: `slow` and `roots` are worked on for moments and never across a callback; `transport` and `outbound` are
//! borrowed for one step of the transport (`in_transport`), during which operations that reach the head wait in the
//! root queue.
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tidegate_sys::mem::Task;
use tidegate_sys::os::{Ready, Token};

use super::address::Address;
use super::drain_report::Leaving;
use super::handler::{Declared, HandlerResult};
use super::lifetime::Life;
use super::mask;
use super::node::{Index, Link, Node, Slab};
use super::nodes::Nodes;
use super::op::Op;
use super::outbound::{Memory, OutboundBuffer};
use super::shared::Shared;
use super::signal::News;
use super::slow::{Inbound, Slow};
use super::spare::{Lent, Part, Spares};
use super::tail::Tail;
use super::transport::Transport;
use super::tries::Tries;
use crate::buffer::{Message, RecvPredictor};
use crate::error::{Error, Failure};
use crate::event_loop::{LoopCore, TimerKey};
use crate::future::{Completion, Promise};

/// Reasons to leave the fast path after a callback or at the end of a dispatch.
pub(crate) mod attention {
    // What is looked at after each callback stands in the lower byte: one instruction tests that in memory, two a word.

    /// The loop has a stall watcher: handlers are named when they are called. Never cleared, and the lowest of all, so that
    /// [`is_none`] need not ask for it.
    pub(crate) const WATCHED: u16 = 1 << 0;
    /// A handler was taken out while on the stack.
    pub(crate) const REMOVED_BUSY: u16 = 1 << 1;
    /// Operations wait at busy handlers.
    pub(crate) const WAITING: u16 = 1 << 2;
    /// The pipeline got a larger slab while handlers of the old one were on the stack.
    pub(crate) const REGROWN: u16 = 1 << 3;
    /// The resume in the slot was asked for in the callback that is running.
    pub(crate) const JUST_ASKED: u16 = 1 << 4;
    /// A flush has come to the head; it is done when the callback has returned.
    pub(crate) const FLUSH: u16 = 1 << 5;
    /// A panic has passed a handler. Should somebody have caught it on its way, it goes on when the callback is over.
    pub(crate) const LOST: u16 = 1 << 6;
    /// The callback emitted more than fits the slot.
    pub(crate) const LIST: u16 = 1 << 7;
    /// The limit of resumes was reached; nothing is delivered until the ready list comes round.
    pub(crate) const SUSPENDED: u16 = 1 << 8;
    /// Some node asked for resume in this dispatch.
    pub(crate) const RESUMING: u16 = 1 << 9;
    /// Tombstones wait to be freed.
    pub(crate) const DEAD: u16 = 1 << 10;
    /// The message under way is the only one of its batch, whose end follows.
    pub(crate) const BATCH_ENDS: u16 = 1 << 11;
    /// The root queue has items.
    pub(crate) const ROOTS: u16 = 1 << 12;
    /// The channel has the slow parts of the pipeline.
    pub(crate) const SLOW: u16 = 1 << 13;

    pub(crate) const AFTER_CALL: u16 = AFTER_CALL_MORE | JUST_ASKED | FLUSH;
    pub(crate) const AFTER_CALL_MORE: u16 = LIST | REMOVED_BUSY | WAITING | REGROWN | LOST;
    /// The walk does not simply begin: what waits comes first, or it is another walk, or none.
    pub(crate) const BEFORE_WALK: u16 = SUSPENDED | LIST | WATCHED | LOST;
    /// Means nothing any more when nothing is left to deliver.
    pub(crate) const OF_DISPATCH: u16 = RESUMING | LIST | JUST_ASKED;
    /// An operation must not go the straight way: it may overtake others, or go by an old slab, or somebody watches.
    pub(crate) const BEFORE_OP: u16 = WAITING | REGROWN | WATCHED | LOST;

    /// Whether nothing is to be seen to.
    #[inline(always)]
    pub(crate) const fn is_none(attention: u16) -> bool {
        attention <= WATCHED
    }
}

/// Yes/no facts about a channel, packed because there are many channels.
pub(crate) mod flag {
    /// Reading goes on by itself.
    pub(crate) const AUTO_READ: u32 = 1 << 0;
    /// A read() reached the head and was not used up.
    pub(crate) const READ_PENDING: u32 = 1 << 1;
    /// Sticky: the source may have something.
    pub(crate) const READABLE: u32 = 1 << 2;
    /// The transport takes no more until it says so.
    pub(crate) const WRITE_BLOCKED: u32 = 1 << 3;
    /// A flush used up its spin count.
    pub(crate) const FLUSH_YIELDED: u32 = 1 << 4;
    /// The input has ended; nothing is read any more.
    pub(crate) const INPUT_SHUT: u32 = 1 << 5;
    /// The output was shut down.
    pub(crate) const OUTPUT_SHUT: u32 = 1 << 6;
    /// The transport was asked to end its input.
    pub(crate) const INPUT_SHUT_ASKED: u32 = 1 << 30;
    pub(crate) const ALLOW_HALF_CLOSURE: u32 = 1 << 7;
    pub(crate) const AUTO_CLOSE: u32 = 1 << 8;
    /// PeerClosing was fired.
    pub(crate) const PEER_CLOSING_TOLD: u32 = 1 << 9;
    /// The input has ended or the channel closes: parked resumes are no longer held back.
    pub(crate) const DRAINING: u32 = 1 << 10;
    /// channel_active was fired or is about to be.
    pub(crate) const WAS_ACTIVE: u32 = 1 << 11;
    /// An error that reaches the tail closes the channel.
    pub(crate) const CLOSE_ON_UNHANDLED: u32 = 1 << 12;
    pub(crate) const IN_READY_LIST: u32 = 1 << 13;
    pub(crate) const IN_ROOT_FIFO: u32 = 1 << 14;
    pub(crate) const WRITABILITY_QUEUED: u32 = 1 << 15;
    /// A failed write that nobody observed was reported.
    pub(crate) const VOID_FAILURE_TOLD: u32 = 1 << 16;
    /// An error readiness was seen: read until the errno comes, whatever auto-read says.
    pub(crate) const READ_ERROR: u32 = 1 << 17;
    /// Read interest was dropped after wasted edges; read() restores it.
    pub(crate) const READ_MASKED: u32 = 1 << 18;
    /// What the selector was last told of read interest (level-triggered selectors).
    pub(crate) const READ_ARMED: u32 = 1 << 19;
    pub(crate) const WRITE_ARMED: u32 = 1 << 20;
    /// The transport was told that reading is wanted.
    pub(crate) const READING_TOLD: u32 = 1 << 21;
    /// The channel was registered.
    pub(crate) const REGISTERED: u32 = 1 << 22;
    /// The descriptor was taken from a level-triggered selector because it hangs up and may not be read.
    pub(crate) const PARKED_FD: u32 = 1 << 23;
    /// channel_inactive was delivered or never will be.
    pub(crate) const ENDED: u32 = 1 << 24;
    /// Messages that reach the tail are logged once a channel in words, then only counted.
    pub(crate) const UNHANDLED_TOLD: u32 = 1 << 25;
    /// Out of descriptors: nothing is read until one is closed or the retry is due.
    pub(crate) const PAUSED: u32 = 1 << 28;
    /// Handlers of one group may be on different loops of it.
    pub(crate) const SPREAD_EXECUTORS: u32 = 1 << 29;
    /// A batch of reads is running.
    pub(crate) const READ_BATCH: u32 = 1 << 26;
    /// The last events are under way: channel_inactive, channel_unregistered, the handlers leave.
    pub(crate) const ENDING: u32 = 1 << 31;
    /// The selector has to be told of every change of interest: level-triggered, or kqueue's write filter.
    pub(crate) const LEVEL: u32 = 1 << 27;

    pub(crate) const DEFAULT: u32 = AUTO_READ | AUTO_CLOSE | CLOSE_ON_UNHANDLED;
}

/// One stage of a pipeline. Inbound callbacks run from head to tail, outbound ones from tail to head.
///
/// Handlers live on their channel's loop and need not be `Send`.
#[allow(unused_variables)]
pub trait Handler: Any {
    /// The callbacks this handler overrides, if it wants to declare them. `None` (the default): learned.
    fn declared(&self) -> Option<Declared> {
        None
    }

    /// The value that this handler makes a handler of, and the name of its type, where that is what names, look-ups and
    /// handles mean.
    #[doc(hidden)]
    fn wrapped(&mut self) -> Option<(&mut dyn Any, &'static str)> {
        None
    }

    /// The same value, taken out.
    #[doc(hidden)]
    fn into_wrapped(self: Box<Self>) -> Option<Box<dyn Any>> {
        None
    }

    // ---- being in a pipeline

    /// The handler was linked into a pipeline. Runs before any other callback of it.
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// The handler was taken out, or its channel has ended. The last callback; what it emits goes to its old successor.
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    // ---- inbound, head to tail

    /// The channel was registered with its loop.
    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::REGISTERED);
        ctx.fire_channel_registered();
        Ok(())
    }

    /// The channel left its loop; the last inbound event.
    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::UNREGISTERED);
        ctx.fire_channel_unregistered();
        Ok(())
    }

    /// The channel is connected or bound. At most once in a channel's life.
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::ACTIVE);
        ctx.fire_channel_active();
        Ok(())
    }

    /// The channel ended. Exactly once if it ever was active; all that was read has been delivered before.
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::INACTIVE);
        ctx.fire_channel_inactive();
        Ok(())
    }

    /// A message arrived.
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.learn_skip(mask::READ);
        ctx.fire_channel_read(msg);
        Ok(())
    }

    /// A batch of reads ended: the moment to flush what was written.
    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::READ_COMPLETE);
        ctx.fire_channel_read_complete();
        Ok(())
    }

    /// Something happened that is neither data nor life cycle; see [`events`](super::events) for the channel's own.
    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        ctx.learn_skip(mask::USER_EVENT);
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    /// Writability changed at least once since the last call: look at `ctx.is_writable()` now.
    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::WRITABILITY);
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    /// A callback of this handler or of one nearer to the head failed, or the transport did. What it leaves to others it hands
    /// on, by [`fire_exception_caught`](Context::fire_exception_caught).
    ///
    /// # Errors
    ///
    /// Not to hand one on: an error from here is logged and counted (`failed_exception_caught`), goes nowhere and closes
    /// nothing, as in Netty.
    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.learn_skip(mask::EXCEPTION);
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    // ---- outbound, tail to head

    /// Bind to a local address.
    fn bind(&mut self, ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::BIND);
        ctx.bind(local, promise);
        Ok(())
    }

    /// Connect to a remote address.
    fn connect(
        &mut self,
        ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        ctx.learn_skip(mask::CONNECT);
        ctx.connect(remote, local, promise);
        Ok(())
    }

    /// Undo a connect, on transports that can (datagrams). Elsewhere a disconnect arrives as `close`.
    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::DISCONNECT);
        ctx.disconnect(promise);
        Ok(())
    }

    /// Close the channel.
    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::CLOSE);
        ctx.close_with(promise);
        Ok(())
    }

    /// Ask the transport for data.
    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::READ_OP);
        ctx.read();
        Ok(())
    }

    /// Put a message into the outbound buffer.
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        ctx.learn_skip(mask::WRITE);
        ctx.write_with(msg, promise);
        Ok(())
    }

    /// Send what was written.
    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.learn_skip(mask::FLUSH);
        ctx.flush();
        Ok(())
    }

    // ---- coming back

    /// Everything that this handler had emitted when it called `ctx.after(key)` has been handled.
    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        Ok(())
    }

    /// The handler asked by `ctx.resume()` to go on emitting, everything it emitted before was handled, and
    /// reading is wanted.
    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        Ok(())
    }

    /// A timer set by `ctx.timer(delay, key)` is due.
    fn timer(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        Ok(())
    }

    /// A promise that was given `ctx.notify(&promise, key)` is done.
    fn write_done(
        &mut self,
        ctx: &mut Context<'_>,
        key: u64,
        result: Result<(), Error>,
    ) -> HandlerResult {
        Ok(())
    }
}

/// A handler's place in its pipeline, for the length of one callback. It can't be kept; [`Context::handle`] can.
///
/// Methods that begin with `fire_` pass an event on toward the tail: they record it and return, and the next
/// handler runs when the current one has returned. The others are operations toward the head: they have
/// reached it, through all handlers on the way, when they return.
pub struct Context<'a> {
    pub(crate) core: &'a Core,
    /// What the callback goes by; the core knows if the pipeline has outgrown it. Empty in a context for an inner handler,
    /// in one that is made while operations wait for a handler on the stack, and after a panic has come by: then every
    /// operation goes the long way round, and nothing is learned.
    pub(crate) slab: &'a Slab<dyn Handler>,
    pub(crate) node: &'a Node<dyn Handler>,
}

/// One thing that waits for a quiet moment.
pub(crate) enum Root {
    /// A listener of a promise.
    Listener(Task),
    /// An operation that reached the head while the transport was busy with a step.
    HeadOp(Op),
    /// An event from the head.
    Fire(Inbound),
    /// A user event, or a message fired by another channel's handler, from the head.
    Message(Inbound, Message),
    /// An error from the head.
    Exception(Failure),
    /// Writability changed.
    Writability,
    /// The channel became active.
    Active,
    /// Parked resumes are to emit what they hold.
    Drain,
    /// Close, for this reason.
    Close(Error, Promise),
    /// channel_inactive, channel_unregistered, the end. It waits for what was queued behind it, and has done so this many rounds.
    End { rounds: u8 },
    /// What follows once the resumes that the limit has put off are over.
    Rest(Gate),
    /// What the transport reported from somebody's stack.
    News(News),
    /// Anything else, from a handle on another thread.
    Call(Gate),
}

/// A closure that runs on the channel's loop, whatever it needs to carry.
pub(crate) struct Gate(Box<dyn FnOnce(&Core)>);

impl Gate {
    pub(crate) fn new(call: impl FnOnce(&Core) + 'static) -> Self {
        Self(Box::new(call))
    }

    pub(crate) fn open(self, core: &Core) {
        (self.0)(core);
    }
}

/// A name that is being looked up; see `look_up`.
pub(crate) struct LookUp {
    pub(crate) name: Arc<str>,
    /// Of the connect or the bind.
    pub(crate) promise: Promise,
    /// The resolver's.
    pub(crate) answer: Completion,
    pub(crate) timer: Option<TimerKey>,
}

/// A connect under way.
pub(crate) struct Connecting {
    pub(crate) promise: Promise,
    pub(crate) remote: Address,
    pub(crate) timer: Option<TimerKey>,
}

/// See the module's page.
///
/// In the order of use, which is the order in memory: what every message needs comes first, within the 128 bytes that an
/// instruction reaches with a short displacement. Left to the compiler it lay at the end, behind what few messages need,
/// and took four lines of cache instead of three, and three bytes more of code for each access.
#[repr(C)]
pub(crate) struct Core {
    pub(crate) lp: Rc<LoopCore>,
    pub(crate) flags: Cell<u32>,
    pub(crate) attention: Cell<u16>,
    /// A node whose resume comes when nothing else is left of the dispatch, else HEAD: the way of a decoder with many
    /// messages at hand. Further ones, and those with a history, are events like others (`slow`).
    pub(crate) resume_last: Cell<Index>,
    pub(crate) first_kind: Cell<Inbound>,
    pub(crate) running: Cell<bool>,
    pub(crate) in_transport: Cell<bool>,
    pub(crate) life: Cell<Life>,
    /// Resumes run in this dispatch.
    pub(crate) resumes: Cell<u16>,
    /// Items of the root queue run in this dispatch.
    pub(crate) root_items: Cell<u8>,
    pub(crate) seen: Cell<Ready>,
    /// Where the event in the slot comes from, with the link as it was after the last edit.
    pub(crate) first_from: Cell<Link>,
    pub(crate) first_msg: Cell<Option<Message>>,
    pub(crate) transport: RefCell<Box<dyn Transport>>,
    /// Only while something waits to be written.
    pub(super) outbound: Lent<OutboundBuffer>,
    pub(crate) predictor: Cell<RecvPredictor>,
    /// By which tasks find this core.
    pub(crate) shared: Arc<Shared>,
    pub(crate) nodes: Nodes<dyn Handler>,

    /// What the next buffer starts with.
    pub(crate) outbound_memory: Cell<Memory>,
    pub(crate) write_spin: Cell<u16>,
    pub(crate) reads_max: Cell<u16>,
    /// Nodes whose resume is parked.
    pub(crate) parks: Cell<u16>,
    /// Edges that came while reading was paused.
    pub(crate) wasted_edges: Cell<u8>,
    /// The transport is active, and has a [`sender`](Transport::sender).
    pub(crate) sends_bytes: Cell<bool>,
    /// Only while a dispatch needs it.
    pub(super) slow: Lent<Slow>,
    /// The root queue, while there is something in it.
    pub(super) roots: Lent<Roots>,
    /// [`UNREGISTERED`] without a descriptor at the selector.
    pub(super) token: Cell<Token>,
    pub(super) rare: Cell<Option<Box<Rare>>>,
    pub(crate) me: Weak<Core>,
}

const _: () = assert!(
    size_of::<Core>() <= 208,
    "one per connection; benches/idle.sh adds up what a connection takes"
);

/// No registration has this token: a table of 2^32 descriptors is full before.
pub(super) const UNREGISTERED: Token = Token::new(u32::MAX, u32::MAX);

/// The root queue's items, the oldest first.
#[derive(Default)]
pub(crate) struct Roots(pub(crate) VecDeque<Root>);

thread_local! {
    static ROOTS: Spares<Roots> = const { Spares::new() };
}

/// A root queue with room for more items than this is not kept.
const ROOTS_LEN_MAX: usize = 64;

impl Part for Roots {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.capacity() * size_of::<Root>()
    }
}

impl Roots {
    pub(crate) fn lend() -> Box<Self> {
        Spares::take(&ROOTS)
    }

    /// Keeps an empty queue for the next channel that has something for it.
    pub(crate) fn give_back(self: Box<Self>) {
        if self.0.capacity() <= ROOTS_LEN_MAX {
            Spares::give(&ROOTS, self);
        }
    }
}

/// What few channels have, and most of those for a moment only.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) tail: Option<Rc<dyn Tail>>,
    pub(crate) connecting: Option<Connecting>,
    /// While a name is looked up.
    pub(crate) look_up: Option<Box<LookUp>>,
    /// While a name's addresses are tried.
    pub(crate) tries: Option<Box<Tries>>,
    pub(crate) closing: Option<Closing>,
    /// While a handler hears of it: what the peer did wrong. A close that is asked for meanwhile is for this.
    pub(crate) blamed: Option<Error>,
    pub(crate) leaving: Option<Leaving>,
    /// Where it is not the default.
    pub(crate) connect_timeout_ms: Option<u32>,
}

impl Rare {
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_none()
            && self.connecting.is_none()
            && self.look_up.is_none()
            && self.tries.is_none()
            && self.closing.is_none()
            && self.blamed.is_none()
            && self.leaving.is_none()
            && self.connect_timeout_ms.is_none()
    }
}

/// What a close leaves behind.
#[derive(Default)]
pub(crate) struct Closing {
    /// Waiting for the end, beside the close future.
    pub(crate) promises: Vec<Promise>,
    /// Why, for writes that come later.
    pub(crate) cause: Option<Error>,
    /// The outcome of the transport's close, if it failed.
    pub(crate) failure: Option<Error>,
}
