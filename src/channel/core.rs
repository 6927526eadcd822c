//! The loop's side of a channel: its transport, its outbound buffer, its pipeline, and where it stands in life.
//!
//! One `Rc` per channel, never locked, never left by its loop's thread. Everything enters through [`Core::enter`],
//! which is a catch boundary and runs what the entry caused: first the trampoline, then the root queue.
//!
//! Borrows: `nodes` and `slow` are borrowed for moments and never across a callback; `transport` and `outbound` are
//! borrowed for one step of the transport (`in_transport`), during which operations that reach the head wait in the
//! root queue.

use std::any::Any;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tidegate_sys::os::{Ready, Token};

use super::Channel;
use super::connect::Connecting;
use super::future::ChannelFuture;
use super::outbound::OutboundBuffer;
use super::life::Gate;
use super::pipeline::nodes::{Index, NodeId, Nodes};
use super::pipeline::slow::{Inbound, Slow};
use super::root::Root;
use super::shared::Shared;
use super::tail::Tail;
use super::transport::{Io, Metadata, Transport};
use crate::buffer::{Message, RecvPredictor};
use crate::error::{Error, Failure};
use crate::event_loop::{LoopCore, boundary};
use crate::future::Promise;
use crate::reactor::{IoEvent, IoHandle};

/// Reasons to leave the fast path after a callback or at the end of a dispatch.
pub(crate) mod attention {
    /// The callback emitted more than fits the slot.
    pub(crate) const LIST: u8 = 1;
    /// A handler was taken out while on the stack.
    pub(crate) const REMOVED_BUSY: u8 = 2;
    /// Operations wait at busy handlers.
    pub(crate) const WAITING: u8 = 4;
    /// The root queue has items.
    pub(crate) const ROOTS: u8 = 8;
    /// The limit of resumes was reached; nothing is delivered until the ready list comes round.
    pub(crate) const SUSPENDED: u8 = 16;
    /// Some node asked for resume in this dispatch.
    pub(crate) const RESUMING: u8 = 32;
    /// Tombstones wait to be freed.
    pub(crate) const DEAD: u8 = 64;

    pub(crate) const AFTER_CALL: u8 = LIST | REMOVED_BUSY | WAITING;
    pub(crate) const AFTER_OP: u8 = REMOVED_BUSY | WAITING;
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
    /// A batch of reads is running.
    pub(crate) const READ_BATCH: u32 = 1 << 26;
    /// The last events are under way: channel_inactive, channel_unregistered, the handlers leave.
    pub(crate) const ENDING: u32 = 1 << 29;
    /// The selector has to be told of every change of interest: level-triggered, or kqueue's write filter.
    pub(crate) const LEVEL: u32 = 1 << 27;

    pub(crate) const DEFAULT: u32 = AUTO_READ | AUTO_CLOSE | CLOSE_ON_UNHANDLED;
}

/// Where a channel stands. Only [`life`](super::life) moves it, forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Life {
    /// Open, not connected and not bound.
    Open,
    /// A connect is under way.
    Connecting,
    /// Connected or bound.
    Active,
    /// The transport is closing.
    Closing,
    /// Closed.
    Closed,
}

/// What a [`Signal`](super::Signal) tells.
pub(crate) enum News {
    Readable,
    Writable,
    Connected(Result<(), Error>),
    Written(usize),
    Closed,
    Failed(Error),
}

/// See the module's page.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lp: Rc<LoopCore>,
    pub(crate) me: Weak<Core>,

    pub(crate) nodes: RefCell<Nodes>,
    pub(crate) first_msg: Cell<Option<Message>>,
    pub(crate) first_kind: Cell<Inbound>,
    pub(crate) attention: Cell<u8>,
    pub(crate) first_from: Cell<Index>,
    pub(crate) running: Cell<bool>,
    pub(crate) in_transport: Cell<bool>,
    pub(crate) life: Cell<Life>,
    /// Nodes whose resume is parked.
    pub(crate) parks: Cell<u16>,
    /// Resumes run in this dispatch.
    pub(crate) resumes: Cell<u16>,
    /// Items of the root queue run in this dispatch.
    pub(crate) root_items: Cell<u16>,
    pub(crate) flags: Cell<u32>,
    pub(crate) slow: RefCell<Option<Box<Slow>>>,
    pub(crate) roots: RefCell<VecDeque<Root>>,
    pub(crate) tail: RefCell<Option<Rc<dyn Tail>>>,

    pub(crate) metadata: Metadata,
    pub(crate) transport: RefCell<Box<dyn Transport>>,
    pub(crate) outbound: RefCell<OutboundBuffer>,
    pub(crate) predictor: RefCell<RecvPredictor>,
    pub(crate) token: Cell<Option<Token>>,
    pub(crate) seen: Cell<Ready>,
    /// Edges that came while reading was paused.
    pub(crate) wasted_edges: Cell<u8>,
    pub(crate) write_spin: Cell<u16>,
    pub(crate) reads_max: Cell<u16>,
    pub(crate) connect_timeout_ms: Cell<u32>,
    pub(crate) connecting: RefCell<Option<Box<Connecting>>>,
    pub(crate) closing: RefCell<Option<Box<Closing>>>,
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

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, lp: Rc<LoopCore>, transport: Box<dyn Transport>) -> Rc<Self> {
        let metadata = transport.metadata();
        Rc::new_cyclic(|me| Self {
            shared,
            lp,
            me: me.clone(),
            nodes: RefCell::new(Nodes::new()),
            first_msg: Cell::new(None),
            first_kind: Cell::new(Inbound::None),
            attention: Cell::new(0),
            first_from: Cell::new(0),
            running: Cell::new(false),
            in_transport: Cell::new(false),
            life: Cell::new(Life::Open),
            parks: Cell::new(0),
            resumes: Cell::new(0),
            root_items: Cell::new(0),
            flags: Cell::new(flag::DEFAULT),
            slow: RefCell::new(None),
            roots: RefCell::new(VecDeque::new()),
            tail: RefCell::new(None),
            metadata,
            transport: RefCell::new(transport),
            outbound: RefCell::new(OutboundBuffer::default()),
            predictor: RefCell::new(RecvPredictor::default()),
            token: Cell::new(None),
            seen: Cell::new(Ready::NONE),
            wasted_edges: Cell::new(0),
            write_spin: Cell::new(16),
            reads_max: Cell::new(metadata.max_messages_per_read),
            connect_timeout_ms: Cell::new(30_000),
            connecting: RefCell::new(None),
            closing: RefCell::new(None),
        })
    }

    // ---- entering

    /// Every way into a channel from outside. Nested entries (a handler of this channel is on the stack) just do
    /// their part; the outermost one is the catch boundary and runs what was caused.
    #[inline]
    pub(crate) fn enter(&self, work: impl FnOnce(&Self)) {
        if self.running.get() {
            return work(self);
        }
        let depth = self.lp.pipeline_depth.get();
        self.lp.pipeline_depth.set(depth + 1);
        self.running.set(true);
        self.resumes.set(0);
        self.root_items.set(0);
        let result = boundary::catch(|| {
            work(self);
            // On another channel's stack only operations run; what they caused waits for the loop.
            if depth == 0 {
                self.settle();
            }
        });
        self.running.set(false);
        self.lp.pipeline_depth.set(depth);
        if let Err(panic) = result {
            self.panicked(panic);
        }
        if self.attention.get() != 0 || self.first_kind.get() != Inbound::None {
            self.end_dispatch();
        }
    }

    /// Delivers what was emitted, then the root queue.
    pub(crate) fn settle(&self) {
        self.run();
        if self.attention.get() & attention::ROOTS != 0 {
            self.run_roots();
        }
    }

    #[cold]
    fn end_dispatch(&self) {
        let idle = self.first_kind.get() == Inbound::None
            && self.slow.borrow().as_ref().is_none_or(|slow| slow.is_idle());
        if idle {
            self.attention.set(self.attention.get() & !(attention::RESUMING | attention::LIST));
            if self.attention.get() & attention::DEAD != 0 {
                self.nodes.borrow_mut().free_dead();
                self.attention.set(self.attention.get() & !attention::DEAD);
            }
        }
        let suspended = self.attention.get() & attention::SUSPENDED != 0;
        if !suspended && (!idle || self.attention.get() & attention::ROOTS != 0) {
            self.push_root_fifo();
        }
    }

    /// The slow parts of the pipeline, made at their first use.
    pub(crate) fn slow(&self) -> RefMut<'_, Box<Slow>> {
        RefMut::map(self.slow.borrow_mut(), |slow| slow.get_or_insert_default())
    }

    #[inline]
    pub(crate) fn attend(&self, bits: u8) {
        self.attention.set(self.attention.get() | bits);
    }

    #[inline]
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    #[inline]
    pub(crate) fn set(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }

    #[inline]
    pub(crate) fn clear(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }

    pub(crate) fn seen(&self) -> Ready {
        self.seen.get()
    }

    pub(crate) fn write_spin_count(&self) -> u32 {
        u32::from(self.write_spin.get())
    }

    /// One step of the transport. No user code runs inside; operations that reach the head meanwhile wait.
    pub(crate) fn with_transport<R>(&self, step: impl FnOnce(&mut dyn Transport, &mut Io<'_>) -> R) -> R {
        struct Leave<'a>(&'a Cell<bool>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        self.in_transport.set(true);
        let _leave = Leave(&self.in_transport);
        step(self.transport.borrow_mut().as_mut(), &mut Io { core: self })
    }

    // ---- loop lists

    /// To the ready list, once: reading, flushing or resuming goes on after others had their turn.
    pub(crate) fn push_ready(&self) {
        if !self.has(flag::IN_READY_LIST)
            && let Some(me) = self.me.upgrade()
        {
            self.set(flag::IN_READY_LIST);
            self.lp.push_ready(me);
        }
    }

    /// To the loop's FIFO of channels with root work, once.
    pub(crate) fn push_root_fifo(&self) {
        if !self.has(flag::IN_ROOT_FIFO)
            && let Some(me) = self.me.upgrade()
        {
            self.set(flag::IN_ROOT_FIFO);
            self.lp.push_root(me);
        }
    }

    // ---- small things for contexts and handles

    pub(crate) fn channel(&self) -> Channel {
        Channel::new(self.shared.clone())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn learn_skip(&self, index: Index, bit: u32) {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.get_mut(index);
        node.mask &= !bit;
        // The handler itself is away on the stack, so its declaration is noted in the mask.
        if cfg!(debug_assertions) && node.mask & super::mask::DECLARED != 0 {
            tracing::error!(
                channel = %self.shared.id(),
                handler = node.kind.name(),
                callbacks = ?super::mask::names(bit),
                "declared callbacks are not overridden; take them out of declared()"
            );
        }
    }

    pub(crate) fn new_promise(&self) -> Promise {
        Promise::new(self.shared.clone())
    }

    pub(crate) fn new_future(&self) -> (Promise, ChannelFuture) {
        let promise = self.new_promise();
        let future = ChannelFuture::new(self.channel(), promise.completion());
        (promise, future)
    }

    /// Whether an operation with this promise is to be done (B23): not if it was cancelled, nor if it is done.
    #[inline]
    pub(crate) fn admit(&self, promise: &Promise) -> bool {
        promise.is_void() || self.admit_slow(promise)
    }

    fn admit_slow(&self, promise: &Promise) -> bool {
        if !promise.is_done() {
            return true;
        }
        if !promise.is_cancelled() {
            tracing::warn!(
                channel = %self.shared.id(),
                "an operation was given a promise that is done already and is not performed; make one promise per operation"
            );
        }
        false
    }

    pub(crate) fn notify(&self, index: Index, promise: &Promise, key: u64) -> bool {
        let node = self.nodes.borrow().id(index).to_bits();
        promise.add_keyed(self.shared.clone(), node, key)
    }

    pub(crate) fn handler_timer(
        &self,
        index: Index,
        delay: std::time::Duration,
        key: u64,
    ) -> crate::event_loop::TimerKey {
        let node = self.nodes.borrow().id(index);
        let me = self.me.clone();
        self.lp.add_timer(
            self.lp.now() + delay,
            tidegate_sys::mem::LocalTask::new(move || {
                if let Some(core) = me.upgrade() {
                    core.call_node(node, move |handler, ctx| handler.timer(ctx, key));
                }
            }),
        )
    }

    /// Enters a handler from outside by its lasting name, unless it is gone. While the dispatch is suspended it
    /// waits, so that what it emits does not mix with what was emitted before.
    pub(crate) fn call_node(
        &self,
        node: NodeId,
        call: impl FnOnce(&mut dyn super::Handler, &mut super::Context<'_>) -> super::handler::HandlerResult + 'static,
    ) {
        if self.attention.get() & attention::SUSPENDED != 0 {
            let gate = Gate::new(move |core| core.call_node(node, call));
            return self.push_root(Root::Call(gate));
        }
        self.enter(|core| {
            let index = core.nodes.borrow().resolve(node);
            if let Some(index) = index {
                core.call(index, call);
            }
        });
    }

    pub(crate) fn is_removed(&self, index: Index) -> bool {
        self.has_mask(index, super::mask::GONE)
    }

    // ---- reports

    #[cold]
    pub(crate) fn report_failed_exception_caught(&self, index: Index, first: &str, second: &Failure) {
        self.lp.metrics().channel.failed_exception_caught.add(1);
        tracing::warn!(
            channel = %self.shared.id(),
            handler = self.nodes.borrow().name(index),
            while_handling = first,
            error = %second,
            "exception_caught failed itself"
        );
    }

    #[cold]
    pub(crate) fn count_void_failure(&self, handler: &str, error: &Error) {
        self.lp.metrics().channel.unobserved_write_failures.add(1);
        if !self.has(flag::VOID_FAILURE_TOLD) {
            self.set(flag::VOID_FAILURE_TOLD);
            tracing::warn!(
                channel = %self.shared.id(),
                at = handler,
                %error,
                "a write failed and nobody observes it; said once per channel, counted in the loop's metrics"
            );
        }
    }

    /// A callback panicked: the handlers that were on the stack end without another callback, the channel closes.
    #[cold]
    fn panicked(&self, text: String) {
        let (names, dropped) = self.nodes.borrow_mut().bury_busy();
        self.attend(attention::DEAD);
        self.lp.metrics().channel.handler_panics.add(1);
        tracing::error!(
            channel = %self.shared.id(),
            handlers = names.join(" <- "),
            panic = text.as_str(),
            "a handler panicked; it is dropped and the channel closes"
        );
        for handler in dropped {
            if boundary::catch(move || drop(handler)).is_err() {
                tracing::error!(channel = %self.shared.id(), "a handler panicked once more while it was dropped");
            }
        }
        let error = Error::new(
            crate::error::ErrorKind::HandlerPanicked,
            format!("handler {} panicked: {text}", names.first().map_or("(none)", String::as_str)),
        );
        self.forget_emissions(&error);
        if self.has(flag::ENDING) && self.shared.is_registered() {
            // It was one of the last events: the handlers that have not heard of the end still do.
            self.push_root(Root::Ending { was_active: self.has(flag::WAS_ACTIVE), rounds: 0 });
        }
        self.enter(|core| core.close_because(error, Promise::void()));
    }

    /// Drops everything recorded or waiting in the dispatch.
    fn forget_emissions(&self, error: &Error) {
        self.first_kind.set(Inbound::None);
        let first = self.first_msg.take();
        let slow = self.slow.borrow_mut().take();
        self.attention.set(self.attention.get() & (attention::ROOTS | attention::DEAD));
        let waiting = boundary::catch(move || {
            drop(first);
            let Some(mut slow) = slow else { return VecDeque::new() };
            std::mem::take(&mut slow.waiting)
        });
        for (_, op) in waiting.unwrap_or_default() {
            op.fail(error.clone());
        }
    }
}

impl IoHandle for Core {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        match event {
            IoEvent::Ready(ready) => self.on_ready(ready),
            IoEvent::Continue => self.on_continue(),
            IoEvent::Roots => {
                self.clear(flag::IN_ROOT_FIFO);
                self.enter(|_| {});
            }
            IoEvent::Shutdown => self.enter(|core| core.head_close(Promise::void())),
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}
