//! The other group's end of a line: the small pipeline that a handler elsewhere lives in.
//!
//! [`Outlet`] stands at its head and [`Inlet`] at its tail; both send what comes to them back to the relay's place in the
//! channel's pipeline. There is no transport under it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::address::Address;
use super::core::{Context, Core, Handler, flag};
use super::handle::Place;
use super::handler::HandlerResult;
use super::into_handler::kind_of;
use super::line::{Crossing, INACTIVE, Line, UNREGISTERED, Way};
use super::mask;
use super::node::{HEAD, Index, TAIL};
use super::op::Op;
use super::outbound::OutboundBuffer;
use super::pipeline::Pipeline;
use super::places::Places;
use super::signal::Signal;
use super::slow::{Event, Inbound};
use super::transport::{Direction, Flush, Io, Metadata, Progress, Read, Transport};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::LoopCore;
use crate::future::Promise;

/// Adds the handler to its own pipeline.
pub(super) type Make = Box<dyn FnOnce(&mut Pipeline<'_>) -> Result<(), Error> + Send>;

/// The handler on its way to its loop. If it never arrives the channel ends.
pub(super) struct Settling {
    pub(super) line: Arc<Line>,
    pub(super) relay: Place,
    /// What the channel has gone through before: its handlers here were told or know of it, and parked resumes are no longer
    /// held back once it drains.
    pub(super) flags: u32,
    /// None once it has arrived.
    pub(super) make: Option<Make>,
}

impl Settling {
    pub(super) fn arrive(mut self) {
        let Some(make) = self.make.take() else { return };
        if let Err(error) = settle(&self.line, &self.relay, make, self.flags) {
            let _ = self.line.failure.set(error.clone());
            self.relay.enter(move |core, index| {
                core.emit_event(Event::Exception(index, error.into()));
            });
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if self.make.take().is_some() && self.line.failure.get().is_none() {
            self.line.is_dead.store(true, Ordering::Relaxed);
            self.line.break_off();
        }
    }
}

/// Builds the handler's own pipeline; on its loop.
fn settle(line: &Arc<Line>, relay: &Place, make: Make, flags: u32) -> Result<(), Error> {
    let Some(lp) = LoopCore::current() else {
        return Ok(());
    };
    let transport = Box::new(Nowhere { line: line.clone() });
    let core = Core::new(
        line.remote.clone(),
        lp,
        transport,
        Places::default().guess(),
    );
    // Whether reading goes on is the channel's affair.
    core.clear(flag::AUTO_READ);
    core.set(flags);
    line.remote.attach(&core);
    // Unless it says otherwise.
    let mut made = Err(Error::new(
        ErrorKind::HandlerPanicked,
        "a handler panicked while it was made on another group's loop",
    ));
    core.enter(|core| {
        // At both ends; what is added afterwards, now or later, stands between them.
        let mut outlet = Outlet {
            line: line.clone(),
            relay: relay.clone(),
        };
        let mut inlet = Inlet {
            line: line.clone(),
            relay: relay.clone(),
            is_over: Cell::new(false),
        };
        let (first, last) = (kind_of(&mut outlet), kind_of(&mut inlet));
        made = core
            .insert(HEAD, Box::new(outlet), None, first)
            .and_then(|outlet| core.insert(outlet, Box::new(inlet), None, last))
            .and_then(|_| make(&mut Pipeline::new(core)));
    });
    made
}

/// Whether a read() would go through the handler's own pipeline without anybody's taking notice: it does not stop before
/// the outlet, which is nearest to the head.
pub(super) fn ignores_reads(core: &Core) -> bool {
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

/// Nearest to the head of the handler's own pipeline: sends what goes out back to the channel, from the relay on.
struct Outlet {
    line: Arc<Line>,
    relay: Place,
}

impl Outlet {
    fn send(&self, act: impl FnOnce(&Core, Index) + Send + 'static) -> HandlerResult {
        if !self.relay.enter(act) {
            self.line.break_off();
        }
        Ok(())
    }

    /// Not through the context's own methods: the promise was looked at when the handler gave it, and may be one of
    /// the handler's side.
    fn send_op(&self, op: Op) -> HandlerResult {
        let crossing = Crossing::new(&self.line, Way::ToRelay, op);
        // Whoever waits for it learns of its end.
        self.relay
            .enter(move |core, relay| crossing.land(core, relay));
        Ok(())
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
        self.line.reads_under_way.fetch_add(1, Ordering::Relaxed);
        let stamp = self.line.passing.load(Ordering::Relaxed);
        self.line
            .to_relay_at_rest(&self.relay, move |line, core, relay| {
                line.reads_under_way.fetch_sub(1, Ordering::Relaxed);
                line.pass_read(core, relay, stamp);
            });
        Ok(())
    }

    fn write(&mut self, _ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        if promise.is_void() {
            self.send(move |core, relay| core.op_write(relay, msg, Promise::void()))
        } else {
            self.send_op(Op::Write(msg, promise))
        }
    }

    fn flush(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send(Core::op_flush)
    }
}

/// Nearest to the tail of the handler's own pipeline: sends what the handler fires on through the channel's. It arrives there
/// as what the relay has emitted, behind what others have left over.
struct Inlet {
    line: Arc<Line>,
    relay: Place,
    /// The last event has passed: what is fired now goes nowhere, as everywhere at the end of a channel.
    is_over: Cell<bool>,
}

impl Inlet {
    /// Where the relay has told those behind it the last event itself, nothing comes behind that.
    fn send(&self, act: impl FnOnce(&Core, Index) + Send + 'static) -> HandlerResult {
        self.send_whatever(move |core, relay| {
            if !core.has_said_the_last(relay) {
                act(core, relay);
            }
        })
    }

    fn send_whatever(&self, act: impl FnOnce(&Core, Index) + Send + 'static) -> HandlerResult {
        if !self.is_over.get() && !self.relay.enter(act) {
            self.line.break_off();
        }
        Ok(())
    }

    fn send_plain(&self, kind: Inbound) -> HandlerResult {
        self.send(move |core, relay| core.emit(kind, relay))
    }

    fn send_last(&self, bit: u8, kind: Inbound) -> HandlerResult {
        if self.line.is_dead.load(Ordering::Relaxed) {
            // It is the end of this side alone. The relay tells those behind it when it is the channel's.
            return Ok(());
        }
        let line = self.line.clone();
        self.send(move |core, relay| {
            if line.last_passed.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                core.emit(kind, relay);
            }
        })
    }
}

impl Handler for Inlet {
    fn channel_registered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Registered)
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_last(UNREGISTERED, Inbound::Unregistered)?;
        self.is_over.set(true);
        Ok(())
    }

    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Active)
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_last(INACTIVE, Inbound::Inactive)
    }

    fn channel_read(&mut self, _ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.send(move |core, relay| core.emit_message(Inbound::Read, relay, msg))
    }

    fn channel_read_complete(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::ReadComplete)
    }

    fn user_event_triggered(&mut self, _ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.send(move |core, relay| core.emit_message(Inbound::UserEvent, relay, event))
    }

    fn channel_writability_changed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_plain(Inbound::Writability)
    }

    fn exception_caught(&mut self, _ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.send_whatever(move |core, relay| {
            if core.has_said_the_last(relay) {
                core.tail_exception(cause);
            } else {
                core.emit_event(Event::Exception(relay, cause));
            }
        })
    }
}

/// Under the handler's own pipeline there is no transport: its outlet keeps every operation. What closes it is the end of
/// its loop or a panic of the handler, and then the channel has to go too. When its loop ends it waits for the last events of the
/// channel, as long as the loop does.
struct Nowhere {
    line: Arc<Line>,
}

impl Nowhere {
    /// False if nothing will come from the channel any more.
    fn close_channel(&self) -> bool {
        let relay = self.line.relay.get();
        let is_there = |relay: &Place| relay.is_there() && !relay.event_loop().is_shutdown();
        if !relay.is_some_and(is_there) {
            return false;
        }
        let channel = self.line.channel.shared();
        // Where both are on one loop that ends, the channel has heard of it.
        if !channel.in_event_loop() || self.line.is_dead.load(Ordering::Relaxed) {
            // Not a close() from the tail: that would come through the relay, to the handler that is gone.
            let text = "a handler on another group's loop has ended: it panicked, or its loop was shut down first";
            Signal::new(channel.clone()).failed(Error::new(ErrorKind::Terminated, text));
        }
        true
    }
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
        self.line.is_dead.store(true, Ordering::Relaxed);
        self.close_channel();
        Ok(Progress::Done)
    }

    /// Its loop ends.
    fn shutdown(&mut self, _io: &mut Io<'_>, _direction: Direction) -> Result<(), Error> {
        let text = "the channel of this handler has ended";
        let gone = || Error::new(ErrorKind::ChannelClosed, text);
        self.close_channel().then_some(()).ok_or_else(gone)
    }
}
