//! A handler on another group's loop, and the relay that stands for it. `elsewhere` puts it into a pipeline.
//!
//! ```text
//! channel's loop:  head … -> [Relay] -> … tail
//!                              |  ^   tasks, in order
//! handler's loop:  head [Outlet] <- handler -> [Inlet] tail
//! ```
//!
//! The handler lives in a small pipeline of its own on a loop of the group (`far_side`), so its `Context` is the ordinary one.
//! The relay in the channel's pipeline sends it every event and every operation; what the handler fires arrives at the
//! inlet and goes on from the relay toward the tail, what it asks for arrives at the outlet and goes on from
//! the relay toward the head. Each direction keeps its order, also where either side has something left over (`line`).
//!
//! With 64 messages on their way to the handler the relay keeps read() back until half of them were handled. With 1,024, which
//! takes a decoder before it, the handlers before it emit nothing more of what was read already (`hold`), until half of those
//! were.
//!
//! The read() of auto-read does not travel. It says nothing that the handler does not know, so the relay passes it straight
//! on, unless something there waits for reads: a handler that overrides `read`, or a resume that is parked. Whether so is
//! looked at behind each message; when that changes, a read() is sent after those that passed by in the meantime. The first
//! read() since auto-read was switched on, or since a relay behind held back what is emitted there, always travels: what was
//! parked there waits for it. One that travels or is kept back
//! when auto-read is switched off is taken back, and one that travels when the handler is taken out goes on.
//!
//! A handler elsewhere may end before its channel does: it panics, or its loop ends. Then the channel closes, and the relay
//! tells the last events itself to those behind it. A loop that ends waits for those events, as long as it waits for anything; when it
//! does not, the handler's own pipeline has them from itself.
//!
//! The handler may add others to its own pipeline, which may be elsewhere again: then relays stand there as they stand here.
//!
//! Auto-read is the channel's on both loops: the handler's `set_auto_read` travels like its operations, and what it holds
//! back for a resume is held back while the channel does not read.

use std::any::Any;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_sys::mem::Task;

use super::Channel;
use super::address::Address;
use super::core::{Context, Core, Handler, Root, flag};
use super::far_side::{Make, Settling, ignores_reads};
use super::handler::HandlerResult;
use super::line::{Crossing, INACTIVE, Line, UNREGISTERED, Way, held_from};
use super::node::{HEAD, Index, TAIL};
use super::nodes::Nodes;
use super::op::Op;
use super::pipeline::Pipeline;
use super::shared::Shared;
use super::slow::Inbound;
use crate::buffer::Message;
use crate::error::{Error, Failure};
use crate::event_loop::EventLoop;
use crate::future::Promise;

/// Stands in the channel's pipeline for a handler elsewhere.
pub(super) struct Relay {
    line: Arc<Line>,
    make: Option<Make>,
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
        let remote = Shared::serving(event_loop, channel.clone());
        Self {
            line: Arc::new(Line::new(channel, remote)),
            make: Some(Box::new(make)),
            switches: 0,
        }
    }

    /// Nothing more is to come: read() is kept back, and a decoder before the relay that has a thousand messages of one read at
    /// hand keeps them, on whichever loop it is.
    #[cold]
    fn hold(&self, ctx: &mut Context<'_>) {
        if self.line.is_holding() {
            return;
        }
        let nodes = &ctx.core.nodes;
        let before = nodes.linked().take_while(|at| *at != ctx.node.index());
        let lines = before.filter_map(|at| line(nodes, at));
        let far = lines.map(|line| {
            line.was_held.store(true, Ordering::Relaxed);
            line.remote.clone()
        });
        self.line
            .hold([ctx.core.shared.clone()].into_iter().chain(far).collect());
    }

    fn send_op(&self, op: Op) -> HandlerResult {
        let crossing = Crossing::new(&self.line, Way::ToHandler, op);
        // Whoever waits for it learns of its end.
        self.line.try_send(move |core| crossing.land(core, TAIL));
        Ok(())
    }

    fn send_plain(&self, kind: Inbound) -> HandlerResult {
        self.line.send(move |core| core.emit(kind, HEAD));
        Ok(())
    }

    /// One of the events that begin or end something there as well, so that the handler's side knows what it owes its handlers
    /// if it ends before the channel.
    fn send_first(&self, kind: Inbound, means: u32) -> HandlerResult {
        self.line.send(move |core| {
            // One that has ended by then owes nothing, and begins nothing.
            if !core.has(flag::ENDED) {
                core.set(means);
                core.emit(kind, HEAD);
            }
        });
        Ok(())
    }

    /// One of the last events, which come to those behind it in any case. Behind all that the handler has to say of those
    /// before.
    fn send_last(&self, bit: u8, kind: Inbound, means: u32) -> HandlerResult {
        self.line.last_sent.fetch_or(bit, Ordering::Relaxed);
        self.line.try_send(move |core| {
            core.at_rest(move |core| {
                // That one has an end of its own, which may still be on its way through it.
                if core.has(flag::ENDED) {
                    return;
                }
                // Owed, with the one that follows, also by a side that never heard of the beginning and ends by itself in between.
                core.set(flag::ENDING | flag::REGISTERED | means);
                core.emit_from_head(kind);
                core.run();
                // Behind a panic it is owed still.
                core.clear(means);
            });
        });
        Ok(())
    }
}

/// The lines to handlers of this pipeline that live elsewhere, head to tail.
pub(crate) fn lines(nodes: &Nodes<dyn Handler>) -> VecDeque<Arc<Line>> {
    nodes.linked().filter_map(|at| line(nodes, at)).collect()
}

/// The line of the relay in this place, if it is one.
fn line(nodes: &Nodes<dyn Handler>, at: Index) -> Option<Arc<Line>> {
    let line = nodes.get(at).peek(|handler| {
        let any: &dyn Any = handler;
        any.downcast_ref::<Relay>().map(|relay| relay.line.clone())
    });
    line.flatten()
}

impl Core {
    /// Whether a relay behind this node holds back what is before it. Only asked while one does.
    pub(super) fn is_held_at(&self, index: Index) -> bool {
        let is_holding = |at: &Index| line(&self.nodes, *at).is_some_and(|line| line.is_holding());
        let here = || self.nodes.linked().filter(is_holding).count();
        // What holds a far side and does not stand here stands in the channel's pipeline, behind all of it.
        self.shared.serves_another() && usize::from(self.shared.holds()) > here()
            || self
                .nodes
                .linked()
                .skip_while(|at| *at != index)
                .any(|at| is_holding(&at))
    }

    /// Whether those behind this relay have heard the last of the channel.
    pub(super) fn has_said_the_last(&self, relay: Index) -> bool {
        self.has(flag::ENDING)
            && line(&self.nodes, relay)
                .is_some_and(|line| line.last_passed.load(Ordering::Relaxed) & UNREGISTERED != 0)
    }
}

/// The input has ended or the channel closes: what handlers elsewhere hold back is no longer held back.
pub(crate) fn drain(nodes: &Nodes<dyn Handler>) {
    for line in lines(nodes) {
        line.try_send(Core::release_parked);
    }
}

impl Handler for Relay {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let Some(make) = self.make.take() else {
            return Ok(());
        };
        let relay = ctx.core.place(ctx.node.index());
        let _ = self.line.relay.set(relay.clone());
        let settling = Settling {
            line: self.line.clone(),
            relay,
            flags: ctx.core.flags.get() & (flag::DRAINING | flag::REGISTERED | flag::WAS_ACTIVE),
            make: Some(make),
        };
        let task = Task::new(move || settling.arrive());
        if let Err((task, error)) = self.line.remote.event_loop().try_execute(task) {
            // The pipeline hears of it by this handler's failing.
            let _ = self.line.failure.set(error.clone());
            drop(task);
            return Err(error.into());
        }
        Ok(())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.line.try_send(match ctx.core.has(flag::ENDED) {
            true => Core::leave_elsewhere,
            false => Core::dissolve,
        });
        // Messages that no longer come by it would overtake those.
        ctx.core.forget_left_over(ctx.node.index());
        // No read() is lost with it, or nothing would be read any more.
        let is_held = self.line.let_go() | self.line.take_held(ctx.core);
        let under_way = self.line.reads_under_way.load(Ordering::Acquire) > 0;
        if ctx.is_active() && (is_held || under_way || ctx.auto_read()) {
            ctx.read();
        }
        Ok(())
    }

    fn channel_registered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_first(Inbound::Registered, flag::REGISTERED)
    }

    fn channel_unregistered(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_last(UNREGISTERED, Inbound::Unregistered, flag::REGISTERED)
    }

    fn channel_active(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_first(Inbound::Active, flag::WAS_ACTIVE)
    }

    fn channel_inactive(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.send_last(INACTIVE, Inbound::Inactive, flag::WAS_ACTIVE)
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let undelivered = self.line.undelivered.fetch_add(1, Ordering::Relaxed) + 1;
        if undelivered >= held_from() {
            self.hold(ctx);
        }
        self.line
            .send(move |core| core.emit_message(Inbound::Read, HEAD, msg));
        // Behind the message in the queue, and behind what a decoder there has left over of the ones before: when this runs,
        // the handler has returned from it.
        let (line, relay) = (self.line.clone(), ctx.core.place(ctx.node.index()));
        let delivered = move |core: &Core| {
            let ignored = line
                .ignores_reads
                .swap(ignores_reads(core), Ordering::Relaxed);
            if ignored && !line.ignores_reads.load(Ordering::Relaxed) {
                // Since a moment ago somebody there waits for reads: there is one for those that have passed by.
                let there = line.clone();
                relay.enter(move |core, _| {
                    if core.auto_read() {
                        there.send_read();
                    }
                });
            }
            if line.one_less() {
                line.to_relay_at_rest(&relay, Line::release);
            }
        };
        let told = self
            .line
            .remote
            .submit(move |core| core.at_rest(delivered), false);
        if !told {
            self.line.break_off();
        }
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

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        if self.line.is_dead.load(Ordering::Relaxed) {
            // It may well say why.
            ctx.fire_exception_caught(cause);
            return Ok(());
        }
        // By way of what is said to one whose side has ended first.
        self.line
            .send(move |core| core.run_root(Root::Exception(cause)));
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
        let is_as_before = mem::replace(&mut self.switches, switches) == switches
            && !self.line.was_held.swap(false, Ordering::Relaxed);
        if is_as_before && ctx.auto_read() && self.line.ignores_reads.load(Ordering::Relaxed) {
            let stamp = self.line.stamp();
            self.line.pass_read(ctx.core, ctx.node.index(), stamp);
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
