//! Tests of a channel that need a transport of the test's own, or a real loop. Those that an embedded channel can show
//! are in tests/channel/.
//!
//! - here: the scripted transport and the channel around it.
//! - `idle`: what a channel does without while nothing happens.
//! - `steps`: what a transport may answer, step by step.
//! - `flushing`: when a flush is done.
//! - `loops`: on a loop that another thread writes to, and its end.
//! - `draining`: how a drain ends.
//! - `lingering`: the close of a channel that drains.
//! - `resting`: what waits for the rest of a long dispatch.
//! - `descriptor`: readiness of a real descriptor, on every selector.

mod descriptor;
mod draining;
mod flushing;
mod idle;
mod lingering;
mod loops;
mod resting;
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::core::Core;
use super::shared::Shared;
use super::{
    Address, Attributes, Channel, ChannelFuture, Context, Direction, Flush, Handler, HandlerResult,
    Io, Metadata, OutboundBuffer, Pipeline, Progress, Read, Transport,
};
use crate::buffer::Message;
use crate::error::{Error, ErrorKind, Failure};
use crate::event_loop::{LoopCore, ManualClock};
use crate::future::Promise;

/// No test waits for a time; this is when a wait that hangs becomes a failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn watch(&self, name: &'static str, future: &ChannelFuture) {
        let log = self.clone();
        future.add_listener(move |_, result| match result {
            Ok(()) => log.add(name),
            Err(error) => log.add(format!("{name}: {}", error.kind())),
        });
    }
}

/// Writes down every inbound event and hands everything on, so that it reaches the ordinary end of a pipeline.
struct Recorder(Log);

impl Handler for Recorder {
    fn handler_removed(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.0.add("removed");
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("registered");
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("unregistered");
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("active");
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let bytes = msg.as_bytes().unwrap_or_default();
        self.0
            .add(format!("read {}", String::from_utf8_lossy(bytes)));
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        let name = event.type_name().rsplit("::").next().unwrap_or_default();
        self.0.add(format!("event {name}"));
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add(if ctx.is_writable() {
            "writable"
        } else {
            "unwritable"
        });
        ctx.fire_channel_writability_changed();
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.0.add(format!("error {}", cause.kind()));
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    fn disconnect(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        self.0.add("disconnect()");
        ctx.disconnect(promise);
        Ok(())
    }
}

/// What a scripted transport answers, and what it was asked.
struct Script {
    metadata: Metadata,
    active: Cell<bool>,
    bind_activates: Cell<bool>,
    reads: RefCell<VecDeque<Result<Read, Error>>>,
    /// How often it was asked to read.
    asked: Cell<usize>,
    /// How often it was told that reading is wanted.
    told: Cell<usize>,
    /// How often it was told that it is not.
    untold: Cell<usize>,
    /// Messages that a flush took.
    taken: RefCell<Vec<Message>>,
    /// Flushes take messages and report them later.
    reports_later: Cell<bool>,
    blocked: Cell<bool>,
    /// It is not to be closed plainly at the end of a drain.
    lingers: Cell<bool>,
    /// How many messages each flush was given.
    flushed: RefCell<Vec<usize>>,
    /// A flush panics.
    panics: Cell<bool>,
    close: RefCell<Result<Progress, Error>>,
    shutdown_error: RefCell<Option<Error>>,
    steps: Log,
}

impl Script {
    fn new() -> Self {
        Self {
            metadata: Metadata {
                name: "scripted",
                has_disconnect: false,
                max_messages_per_read: 16,
                is_server: false,
            },
            active: Cell::new(true),
            bind_activates: Cell::new(true),
            reads: RefCell::default(),
            asked: Cell::new(0),
            told: Cell::new(0),
            untold: Cell::new(0),
            taken: RefCell::default(),
            reports_later: Cell::new(false),
            blocked: Cell::new(false),
            lingers: Cell::new(false),
            flushed: RefCell::default(),
            panics: Cell::new(false),
            close: RefCell::new(Ok(Progress::Done)),
            shutdown_error: RefCell::default(),
            steps: Log::default(),
        }
    }

    fn unconnected() -> Self {
        let script = Self::new();
        script.active.set(false);
        script
    }
}

struct Scripted(Rc<Script>);

impl Transport for Scripted {
    fn metadata(&self) -> Metadata {
        self.0.metadata
    }

    fn is_active(&self) -> bool {
        self.0.active.get()
    }

    fn bind(&mut self, _: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        self.0.steps.add(format!("bind {local}"));
        self.0
            .active
            .set(self.0.active.get() || self.0.bind_activates.get());
        Ok(())
    }

    fn connect(
        &mut self,
        _: &mut Io<'_>,
        remote: &Address,
        _: Option<&Address>,
    ) -> Result<Progress, Error> {
        self.0.steps.add(format!("connect {remote}"));
        Ok(Progress::Done)
    }

    fn disconnect(&mut self, _: &mut Io<'_>) -> Result<(), Error> {
        self.0.steps.add("disconnect");
        Ok(())
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.as_bytes().is_some() && !self.0.metadata.is_server
    }

    fn read(&mut self, _: &mut Io<'_>) -> Result<Read, Error> {
        self.0.asked.set(self.0.asked.get() + 1);
        self.0
            .reads
            .borrow_mut()
            .pop_front()
            .unwrap_or(Ok(Read::WouldBlock))
    }

    fn reading(&mut self, _: &mut Io<'_>, wanted: bool) {
        let count = if wanted { &self.0.told } else { &self.0.untold };
        count.set(count.get() + 1);
    }

    fn flush(&mut self, _: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        self.0.steps.add("flush");
        self.0.flushed.borrow_mut().push(out.flushed_len());
        assert!(!self.0.panics.get(), "as the test wants it");
        if self.0.blocked.get() {
            return Ok(Flush::Blocked);
        }
        while let Some(msg) = out.take_front() {
            self.0.taken.borrow_mut().push(msg);
            if !self.0.reports_later.get() {
                let _ = out.complete_taken(1);
            }
        }
        Ok(Flush::Drained)
    }

    fn shutdown(&mut self, _: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        self.0.steps.add(format!("shutdown {direction:?}"));
        self.0
            .shutdown_error
            .borrow_mut()
            .take()
            .map_or(Ok(()), Err)
    }

    fn lingers(&self) -> bool {
        self.0.lingers.get()
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        self.0.steps.add("close");
        self.0.active.set(false);
        self.0.close.borrow().clone()
    }
}

/// A scripted channel on a loop that the test turns, with a recorder as its only handler.
struct Rig {
    lp: Rc<LoopCore>,
    clock: ManualClock,
    core: Rc<Core>,
    channel: Channel,
    script: Rc<Script>,
    log: Log,
}

impl Rig {
    fn new(script: Script) -> Self {
        let clock = ManualClock::default();
        Self::on(LoopCore::embedded(clock.clone()), clock, script)
    }

    fn on(lp: Rc<LoopCore>, clock: ManualClock, script: Script) -> Self {
        let (script, log) = (Rc::new(script), Log::default());
        let (core, channel) = open_on(&lp, Box::new(Scripted(script.clone())), &log);
        let rig = Self {
            lp,
            clock,
            core,
            channel,
            script,
            log,
        };
        rig.turn();
        rig
    }

    fn turn(&self) {
        let _turn = self.lp.enter();
        while self.lp.run_ready() + self.lp.run_roots() + self.lp.run_timers() + self.lp.run_tasks()
            > 0
        {}
    }

    /// Does something in the loop's turn, and then what follows from it.
    fn run<R>(&self, work: impl FnOnce(&Channel) -> R) -> R {
        let result = {
            let _turn = self.lp.enter();
            work(&self.channel)
        };
        self.turn();
        result
    }

    fn reads(&self, reads: impl IntoIterator<Item = Result<Read, Error>>) {
        self.script.reads.borrow_mut().extend(reads);
        self.run(|channel| channel.signal().readable());
    }

    fn counters(&self) -> [u64; 4] {
        let channel = &self.lp.metrics().channel;
        [
            channel.unhandled_messages.get(),
            channel.unhandled_errors.get(),
            channel.unobserved_write_failures.get(),
            channel.handler_panics.get(),
        ]
    }
}

/// The loop lives in the channel and the channel in the loop: ended, they let go of each other.
impl Drop for Rig {
    fn drop(&mut self) {
        let _turn = self.lp.enter();
        if !std::thread::panicking() {
            self.lp.end_now();
        }
    }
}

impl Channel {
    fn signal(&self) -> super::Signal {
        super::Signal::new(self.shared().clone())
    }
}

/// A registered channel whose only handler writes everything down.
fn open_on(lp: &Rc<LoopCore>, transport: Box<dyn Transport>, log: &Log) -> (Rc<Core>, Channel) {
    let _turn = lp.enter();
    let shared = Shared::new(lp.handle().clone(), None, Attributes::default());
    let core = super::register::attach(&shared, lp, transport);
    let channel = Channel::new(shared);
    core.register(
        |core| {
            Pipeline::new(core)
                .add_last(Recorder(log.clone()))
                .map_err(Into::into)
        },
        &channel.new_promise(),
    );
    (core, channel)
}

fn message(text: &'static str) -> Result<Read, Error> {
    Ok(Read::Message(Message::from(text)))
}

fn reset() -> Error {
    Error::new(ErrorKind::ConnectionReset, "reset by the test")
}

#[track_caller]
fn kind(future: &ChannelFuture) -> ErrorKind {
    future.cause().expect("the future has failed").kind()
}
