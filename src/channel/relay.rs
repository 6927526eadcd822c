//! A handler on another group's loop, and the relay that stands for it. `elsewhere` puts it into a pipeline.
//!
//! ```text
//! channel's loop:  head … -> [Relay] -> … tail
//!                              |  ^   tasks, in order
//! handler's loop:  [Outlet] <- handler -> [Inlet]
//! ```
//!
//! The handler lives in a small pipeline of its own on a loop of the group, so its `Context` is the ordinary one. The
//! relay in the channel's pipeline sends it every event and every operation; what the handler fires arrives at the
//! inlet and goes on from the relay toward the tail, what it asks for arrives at the outlet and goes on from
//! the relay toward the head. Each direction keeps its order.
//!
//! At most 64 messages are on their way to the handler: from then on the relay keeps read() back until
//! half of them were handled.
//!
//! The read() of auto-read does not travel. It says nothing that the handler does not know, so the relay passes it straight
//! on, unless something there waits for reads: a handler that overrides `read`, or a resume that is parked. Whether so is
//! looked at behind each message; when that changes, a read() is sent after those that passed by in the meantime. The first
//! read() since auto-read was switched on always travels: what was parked there waits for it.
//!
//! Auto-read is the channel's on both loops: the handler's `set_auto_read` travels like its operations, and what it holds
//! back for a resume is held back while the channel does not read.

use std::any::Any;
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::Channel;
use super::address::Address;
use super::attributes::Attributes;
use super::core::{Context, Core, Handler, flag};
use super::errand::Load;
use super::handle::HandlerHandle;
use super::handler::HandlerResult;
use super::lifetime::Life;
use super::mask;
use super::node::{HEAD, Index, TAIL};
use super::nodes::Nodes;
use super::op::Op;
use super::outbound::OutboundBuffer;
use super::pipeline::Pipeline;
use super::shared::Shared;
use super::signal::Signal;
use super::slow::{Event, Inbound};
use super::transport::{Flush, Io, Metadata, Progress, Read, Transport};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{EventLoop, LoopCore};
use crate::future::Promise;

/// Messages on their way to the other loop before reading pauses: four batches of reads.
const UNDELIVERED_MAX: usize = 64;

/// The way from the channel's loop to the handler's.
pub(crate) struct Line {
    channel: Channel,
    /// The handler's side.
    remote: Arc<Shared>,
    /// Messages sent to the handler's loop that its callback has not returned from.
    undelivered: AtomicUsize,
    /// Nothing on the handler's side waits for a read(). Written there.
    ignores_reads: AtomicBool,
    /// Why the handler's side never came to be.
    failure: OnceLock<Error>,
}

impl Line {
    /// Runs `call` with the handler's own pipeline, on its loop, unless that has ended.
    fn send(&self, call: impl FnOnce(&Core) + Send + 'static) {
        self.remote.submit(move |core| core.enter(call), true);
    }

    /// A read() through the handler's pipeline, behind what is left over there: a resume that waits for its turn needs none,
    /// and would use it up, so that nothing is read any more.
    fn send_read(&self) {
        self.send(|core| {
            core.at_rest(|core| {
                core.op_read_from_tail();
            });
        });
    }

    /// Drops `marker` behind everything that was sent and the resumes that it has set off, or at once if the handler's side
    /// has ended.
    pub(crate) fn pass(&self, marker: impl Send + 'static) {
        self.send(move |core| core.at_rest(move |_| drop(marker)));
    }
}

/// An operation on its way between the two loops. If it never arrives, whoever waits for it learns why; a close of a
/// channel that has closed has what it wanted.
struct Crossing {
    channel: Channel,
    /// On the way to the handler.
    line: Option<Arc<Line>>,
    /// None once it has arrived.
    op: Option<Op>,
}

impl Crossing {
    fn new(channel: &Channel, line: Option<&Arc<Line>>, op: Op) -> Self {
        Self {
            channel: channel.clone(),
            line: line.cloned(),
            op: Some(op),
        }
    }

    /// It has arrived; it goes on from `from` toward the head.
    fn land(mut self, core: &Core, from: Index) {
        if let Some(op) = self.op.take() {
            core.op(from, op);
        }
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        let Some(op) = self.op.take() else { return };
        let closed = self.channel.shared().life() == Life::Closed;
        if let Some(failure) = self.line.as_ref().and_then(|line| line.failure.get()) {
            return op.give_up(failure.clone(), closed);
        }
        let (kind, text) = if closed {
            (ErrorKind::ChannelClosed, "the channel has ended")
        } else {
            (
                ErrorKind::NoSuchHandler,
                "a handler on another group's loop has left before the operation passed it",
            )
        };
        op.give_up(Error::new(kind, text), closed);
    }
}

type Make = Box<dyn FnOnce(&mut Pipeline<'_>) -> Result<(), Error> + Send>;

/// Stands in the channel's pipeline for a handler elsewhere.
pub(super) struct Relay {
    line: Arc<Line>,
    make: Option<Make>,
    /// A read() came back while too much was undelivered.
    reading_held: bool,
    /// The channel's number of switches of auto-read when a read() came by last.
    switches: u8,
}

impl Relay {
    /// For a handler of `channel` that `make` adds to its own pipeline on `event_loop`.
    pub(super) fn new(
        channel: Channel,
        event_loop: EventLoop,
        make: impl FnOnce(&mut Pipeline<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        let remote = Shared::new(event_loop, None, Attributes::default());
        remote.serve_another();
        Self {
            line: Arc::new(Line {
                channel,
                remote,
                undelivered: AtomicUsize::new(0),
                ignores_reads: AtomicBool::new(false),
                failure: OnceLock::new(),
            }),
            make: Some(Box::new(make)),
            reading_held: false,
            switches: 0,
        }
    }

    fn send_op(&self, op: Op) -> HandlerResult {
        let crossing = Crossing::new(&self.line.channel, Some(&self.line), op);
        self.line.send(move |core| crossing.land(core, TAIL));
        Ok(())
    }

    fn send_plain(&self, kind: Inbound) -> HandlerResult {
        self.line.send(move |core| core.emit(kind, HEAD));
        Ok(())
    }

    /// A read() that the handler let pass.
    fn pass_read(&mut self, ctx: &mut Context<'_>) {
        if self.line.undelivered.load(Ordering::Relaxed) >= UNDELIVERED_MAX {
            self.reading_held = true;
        } else {
            ctx.read();
        }
    }

    /// The handler's side waits for reads, since a moment ago: it gets one for those that have passed by.
    fn make_up(&self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.auto_read() {
            self.line.send_read();
        }
        Ok(())
    }

    /// Half of what was undelivered has been handled.
    fn release_reading(&mut self, ctx: &mut Context<'_>) {
        if mem::take(&mut self.reading_held) {
            ctx.read();
        }
    }
}

/// The lines to handlers of this pipeline that live elsewhere, head to tail.
pub(crate) fn lines(nodes: &Nodes<dyn Handler>) -> VecDeque<Arc<Line>> {
    let line = |index| {
        let line = nodes.get(index).peek(|handler| {
            let any: &dyn Any = handler;
            any.downcast_ref::<Relay>().map(|relay| relay.line.clone())
        });
        line.flatten()
    };
    nodes.linked().filter_map(line).collect()
}

/// The input has ended or the channel closes: what handlers elsewhere hold back is no longer held back.
pub(crate) fn drain(nodes: &Nodes<dyn Handler>) {
    for line in lines(nodes) {
        line.send(|core| {
            core.set(flag::DRAINING);
            core.unpark_all();
        });
    }
}

/// Whether a read() would go through the handler's own pipeline without anybody's taking notice: it does not stop before
/// the outlet, which is nearest to the head.
fn ignores_reads(core: &Core) -> bool {
    let mut at = TAIL;
    loop {
        let (node, stops) = core.nodes.step_toward_head(at, mask::READ_OP);
        at = node.index();
        if stops || at == HEAD {
            break;
        }
    }
    let is_outlet = at == HEAD || core.nodes.before(at) == HEAD;
    is_outlet && !core.has_resumes() && core.auto_read()
}

/// Builds the handler's own pipeline; on its loop.
fn settle(line: &Line, relay: HandlerHandle<Relay>, make: Make) -> Result<(), Error> {
    let Some(lp) = LoopCore::current() else {
        return Ok(());
    };
    let transport = Box::new(Nowhere {
        channel: line.channel.clone(),
    });
    let core = Core::facing(
        line.channel.shared().clone(),
        line.remote.clone(),
        lp,
        transport,
    );
    // Whether reading goes on is the channel's affair.
    core.clear(flag::AUTO_READ);
    line.remote.attach(&core);
    // Unless it says otherwise.
    let mut made = Err(Error::new(
        ErrorKind::HandlerPanicked,
        "a handler panicked while it was made on another group's loop",
    ));
    core.enter(|core| {
        let mut pipeline = Pipeline::new(core);
        made = pipeline
            .add_last(Outlet {
                channel: line.channel.clone(),
                relay: relay.clone(),
            })
            .and_then(|()| make(&mut pipeline))
            .and_then(|()| pipeline.add_last(Inlet { relay }));
    });
    made
}

impl Handler for Relay {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let Some(make) = self.make.take() else {
            return Ok(());
        };
        let line = self.line.clone();
        let relay = ctx.handle::<Relay>();
        self.line.remote.event_loop().execute(move || {
            if let Err(error) = settle(&line, relay.clone(), make) {
                let _ = line.failure.set(error.clone());
                let _ = relay.run(move |_, ctx| {
                    ctx.fire_exception_caught(error);
                    Ok(())
                });
            }
        })?;
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.line.send(Core::dissolve);
        Ok(())
    }

    fn channel_registered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Registered)
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        // After what it has to say of channel_inactive.
        self.line.send(|core| {
            core.at_rest(|core| {
                core.emit_from_head(Inbound::Unregistered);
                core.run();
            });
        });
        Ok(())
    }

    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Active)
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Inactive)
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.line.undelivered.fetch_add(1, Ordering::Relaxed);
        self.line
            .send(move |core| core.emit_message(Inbound::Read, HEAD, msg));
        // Behind the message in the queue, and behind what a decoder there has left over of the ones before: when this runs,
        // the handler has returned from it.
        let (line, relay) = (self.line.clone(), ctx.handle::<Relay>());
        let delivered = move |core: &Core| {
            let ignored = line
                .ignores_reads
                .swap(ignores_reads(core), Ordering::Relaxed);
            if ignored && !line.ignores_reads.load(Ordering::Relaxed) {
                let _ = relay.run(|relay, ctx| relay.make_up(ctx));
            }
            if line.undelivered.fetch_sub(1, Ordering::Relaxed) == UNDELIVERED_MAX / 2 {
                let _ = relay.run(|relay, ctx| {
                    relay.release_reading(ctx);
                    Ok(())
                });
            }
        };
        self.line
            .remote
            .submit(move |core| core.at_rest(delivered), false);
        Ok(())
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::ReadComplete)
    }

    fn user_event_triggered(&mut self, _ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.line
            .send(move |core| core.emit_message(Inbound::UserEvent, HEAD, event));
        Ok(())
    }

    fn channel_writability_changed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Writability)
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.line
            .send(move |core| core.emit_event(Event::Exception(HEAD, cause)));
        Ok(())
    }

    fn bind(&mut self, _ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.send_op(Op::Bind(Box::new(local), promise))
    }

    fn connect(
        &mut self,
        _ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.send_op(Op::Connect(Box::new((remote, local)), promise))
    }

    fn disconnect(&mut self, _ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.send_op(Op::Disconnect(promise))
    }

    fn close(&mut self, _ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.send_op(Op::Close(promise))
    }

    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let switches = self.line.channel.shared().auto_read_switches();
        let is_as_before = mem::replace(&mut self.switches, switches) == switches;
        if is_as_before && ctx.auto_read() && self.line.ignores_reads.load(Ordering::Relaxed) {
            self.pass_read(ctx);
        } else {
            self.line.send_read();
        }
        Ok(())
    }

    fn write(&mut self, _ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if !promise.is_void() {
            return self.send_op(Op::Write(msg, promise));
        }
        // Nobody is to be told, so it fits into a task without a box.
        self.line
            .send(move |core| core.op_write(TAIL, msg, Promise::void()));
        Ok(())
    }

    fn flush(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.line.send(|core| core.op_flush(TAIL));
        Ok(())
    }
}

/// Nearest to the head of the handler's own pipeline: sends what goes out back to the channel, from the relay on.
struct Outlet {
    channel: Channel,
    relay: HandlerHandle<Relay>,
}

impl Outlet {
    fn send(
        &self,
        act: impl FnOnce(&mut Relay, &mut Context<'_>) + Send + 'static,
    ) -> HandlerResult {
        let _ = self.relay.run(move |relay, ctx| {
            act(relay, ctx);
            Ok(())
        });
        Ok(())
    }

    /// Not through the context's own methods: the promise was looked at when the handler gave it, and may be one of
    /// the handler's side.
    fn send_op(&self, op: Op) -> HandlerResult {
        let crossing = Crossing::new(&self.channel, None, op);
        self.send(move |_, ctx| crossing.land(ctx.core, ctx.node.index()))
    }
}

impl Handler for Outlet {
    fn bind(&mut self, _ctx: &mut Context<'_>, local: Address, promise: Promise) -> HandlerResult {
        self.send_op(Op::Bind(Box::new(local), promise))
    }

    fn connect(
        &mut self,
        _ctx: &mut Context<'_>,
        remote: Address,
        local: Option<Address>,
        promise: Promise,
    ) -> HandlerResult {
        self.send_op(Op::Connect(Box::new((remote, local)), promise))
    }

    fn disconnect(&mut self, _ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.send_op(Op::Disconnect(promise))
    }

    fn close(&mut self, _ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.send_op(Op::Close(promise))
    }

    fn read(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|relay, ctx| relay.pass_read(ctx))
    }

    fn write(&mut self, _ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if promise.is_void() {
            self.send(move |_, ctx| ctx.write(msg))
        } else {
            self.send_op(Op::Write(msg, promise))
        }
    }

    fn flush(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|_, ctx| ctx.flush())
    }
}

/// Nearest to the tail of the handler's own pipeline: sends what the handler fires on through the channel's.
struct Inlet {
    relay: HandlerHandle<Relay>,
}

impl Inlet {
    fn send(&self, act: impl FnOnce(&mut Context<'_>) + Send + 'static) -> HandlerResult {
        let _ = self.relay.run(move |_, ctx| {
            act(ctx);
            Ok(())
        });
        Ok(())
    }
}

impl Handler for Inlet {
    fn channel_registered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_registered())
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_unregistered())
    }

    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_active())
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_inactive())
    }

    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.send(move |ctx| ctx.fire_channel_read(msg))
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_read_complete())
    }

    fn user_event_triggered(&mut self, _ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.send(move |ctx| ctx.fire_user_event_triggered(event))
    }

    fn channel_writability_changed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(|ctx| ctx.fire_channel_writability_changed())
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.send(move |ctx| ctx.fire_exception_caught(cause))
    }
}

/// Under the handler's own pipeline there is no transport: its outlet keeps every operation. What closes it is the end of
/// its loop or a panic of the handler, and then the channel has to go too.
struct Nowhere {
    channel: Channel,
}

impl Transport for Nowhere {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "relay",
            has_disconnect: true,
            max_messages_per_read: 1,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        false
    }

    fn accepts(&self, _msg: &Message) -> bool {
        false
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        Ok(Read::WouldBlock)
    }

    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        // Not a close() from the tail: that would come through the relay, to the handler that is gone.
        let text = "a handler on another group's loop has ended: it panicked, or its loop was shut down first";
        Signal::new(self.channel.shared().clone()).failed(Error::new(ErrorKind::Terminated, text));
        Ok(Progress::Done)
    }
}
