//! The pipeline of `relays`: a transport that is a queue, stages that may stand on any loop, and what the model knows of them.

use std::cell::RefCell;
use std::collections::VecDeque;

use tidegate::channel::{
    Declared, Direction, Flush, HandlerHandle, Io, Metadata, OutboundBuffer, Progress, Read,
    Signal, Transport,
};
use tidegate::sim::Random;
use tidegate::{Channel, ChannelFuture, Context, Error, Failure, Handler, HandlerResult, Message};

/// Numbers that follow each other, as one message: the first, and how many.
pub type Range = (u64, u64);

/// What reads bring.
#[derive(Clone, Copy)]
pub enum Source {
    Range(Range),
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    New,
    Added,
    Registered,
    Active,
    Inactive,
    Unregistered,
    Removed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A decoder: hands its numbers on one by one.
    Split,
    /// Passes everything on.
    Pass,
    /// The same with a read() of its own.
    Taker,
    /// Writes every third number, and flushes when a batch ends.
    Echo,
}

pub const KINDS: [Kind; 4] = [Kind::Split, Kind::Pass, Kind::Taker, Kind::Echo];

/// What is known of one stage.
pub struct Seen {
    pub handle: Option<HandlerHandle<Stage>>,
    pub phase: Phase,
    /// Numbers before this one have come.
    pub next: Option<u64>,
    /// Messages whose callback has returned.
    pub messages: u64,
    pub is_elsewhere: bool,
    /// Nothing reached it of what comes when its channel began: it was added later.
    pub is_late: bool,
}

#[derive(Default)]
pub struct Model {
    pub stages: Vec<Seen>,
    pub source: VecDeque<Source>,
    pub signal: Option<Signal>,
    /// The first number that was not fed.
    pub fed: u64,
    pub messages_read: u64,
    pub is_blocked: bool,
    pub has_closed: bool,
    /// Written into pipelines, and taken by the transport.
    pub written: u64,
    pub taken: u64,
    pub echoes: Vec<u64>,
    pub echoed: Vec<u64>,
    pub promises: Vec<ChannelFuture>,
    /// Errors that were fired, and those that have come to the last stage.
    pub fired: u64,
    pub caught: u64,
    pub events: u64,
    pub events_seen: u64,
    /// A stage was taken out, or its loop has ended: what it had may be lost.
    pub is_lossy: bool,
    pub drives: bool,
    pub complaints: Vec<String>,
    pub log: Option<String>,
}

thread_local! {
    static MODEL: RefCell<Option<(Model, Random)>> = const { RefCell::new(None) };
}

impl Model {
    pub fn begin(seed: u64, keeps_log: bool) {
        let model = Self {
            log: keeps_log.then(String::new),
            ..Self::default()
        };
        MODEL.set(Some((model, Random::new(seed ^ 0x0E15_E77E))));
    }

    pub fn end() -> Self {
        MODEL.take().expect("a run begins before it ends").0
    }

    pub fn complain(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.note(|| format!("COMPLAINT {text}"));
        if self.complaints.len() < 20 {
            self.complaints.push(text);
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push_str(&line());
            log.push('\n');
        }
    }

    /// The last stage of the pipeline.
    pub fn sink(&self) -> &Seen {
        &self.stages[0]
    }
}

/// Looks at the model, for a moment: never while something of the library runs.
pub fn with<R>(look: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(|model| look(&mut model.as_mut().expect("a run has begun").0))
}

pub fn draw(limit: u64) -> u64 {
    MODEL.with_borrow_mut(|model| model.as_mut().expect("a run has begun").1.below(limit))
}

pub fn one_in(chances: u64) -> bool {
    draw(chances) == 0
}

/// Reads the queue of the model, and counts what is written.
pub struct Pipe;

impl Transport for Pipe {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "pipe",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        true
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let signal = io.signal();
        with(|model| model.signal = Some(signal));
        Ok(())
    }

    fn starts_readable(&mut self) -> bool {
        true
    }

    fn accepts(&self, _msg: &Message) -> bool {
        true
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        with(|model| {
            Ok(match model.source.pop_front() {
                Some(Source::Range(range)) => {
                    model.messages_read += 1;
                    model.note(|| format!("read {range:?}"));
                    Read::Message(Message::new(range))
                }
                Some(Source::End) => Read::Eof,
                None => Read::WouldBlock,
            })
        })
    }

    fn flush(&mut self, _io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        if with(|model| model.is_blocked) {
            return Ok(Flush::Blocked);
        }
        while let Some(msg) = out.take_front() {
            let number = msg.downcast::<u64>();
            let _ = out.complete_taken(1);
            with(|model| {
                model.taken += 1;
                model
                    .echoed
                    .extend(number.ok().filter(|it| *it != u64::MAX));
            });
        }
        Ok(Flush::Drained)
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        if direction == Direction::Input {
            with(|model| model.source.push_back(Source::End));
        }
        Ok(())
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        with(|model| model.has_closed = true);
        Ok(Progress::Done)
    }
}

/// A user event with a number.
struct Event(u64);

/// A handler of the pipeline, here or elsewhere.
pub struct Stage {
    pub id: usize,
    kind: Kind,
    held: VecDeque<Range>,
    events: u64,
}

impl Stage {
    /// Makes the stage known to the model.
    pub fn announce(kind: Kind, is_elsewhere: bool, is_late: bool) -> (usize, Kind) {
        with(|model| {
            model.stages.push(Seen {
                handle: None,
                phase: Phase::New,
                next: None,
                messages: 0,
                is_elsewhere,
                is_late,
            });
            let id = model.stages.len() - 1;
            model.note(|| format!("stage {id} is a {kind:?}, elsewhere: {is_elsewhere}"));
            (id, kind)
        })
    }

    pub fn new((id, kind): (usize, Kind)) -> Self {
        Self {
            id,
            kind,
            held: VecDeque::new(),
            events: 0,
        }
    }

    fn enter(&self, from: &[Phase], to: Phase) {
        with(|model| {
            let id = self.id;
            model.note(|| format!("stage {id}: {to:?}"));
            let seen = &mut model.stages[id];
            let phase = seen.phase;
            let is_late = seen.is_late || model.is_lossy;
            seen.phase = phase.max(to);
            if !(from.contains(&phase) || is_late && phase < to) {
                model.complain(format!("stage {id}: {to:?} after {phase:?}"));
            }
        });
    }

    /// Something that only comes to a handler whose channel is not over.
    fn lives(&self, what: &str) {
        with(|model| {
            let phase = model.stages[self.id].phase;
            if phase >= Phase::Inactive || phase == Phase::New {
                model.complain(format!("stage {}: {what} while {phase:?}", self.id));
            }
        });
    }

    /// Numbers have come.
    fn see(&self, (first, count): Range) {
        with(|model| {
            let id = self.id;
            model.note(|| format!("stage {id}: {first} and {count}"));
            let is_lossy = model.is_lossy;
            let seen = &mut model.stages[id];
            let expected = seen.next.unwrap_or(if seen.is_late { first } else { 0 });
            seen.next = Some(first + count);
            if first < expected || first > expected && !is_lossy {
                model.complain(format!("stage {id}: {first} came where {expected} was due"));
            }
        });
    }

    fn give(&mut self, ctx: &mut Context<'_>, range: Range) {
        if self.kind == Kind::Echo {
            for number in range.0..range.0 + range.1 {
                if number % 3 == self.id as u64 % 3 {
                    with(|model| {
                        model.written += 1;
                        if !model.is_lossy {
                            model.echoes.push(number);
                        }
                    });
                    ctx.write(Message::new(number));
                }
            }
        }
        ctx.fire_channel_read(Message::new(range));
    }

    /// One number of those that are held; the resume brings the next.
    fn give_one(&mut self, ctx: &mut Context<'_>) {
        let Some((first, count)) = self.held.pop_front() else {
            return;
        };
        if count > 1 {
            self.held.push_front((first + 1, count - 1));
        }
        self.give(ctx, (first, 1));
        if !self.held.is_empty() {
            ctx.resume();
        }
    }

    /// Something that a handler does when it likes.
    pub fn act(&mut self, ctx: &mut Context<'_>, lot: u64) -> HandlerResult {
        let id = self.id;
        with(|model| model.note(|| format!("stage {id} acts {lot}")));
        if with(|model| model.stages[id].phase) >= Phase::Inactive {
            return Ok(());
        }
        match lot {
            0 => ctx.set_auto_read(false),
            1 | 2 => ctx.set_auto_read(true),
            3 | 4 => ctx.read(),
            5 | 6 => {
                with(|model| model.written += 1);
                let future = ctx.write_future(Message::new(u64::MAX));
                with(|model| model.promises.push(future));
            }
            7 => ctx.flush(),
            8 if id != 0 => {
                with(|model| model.fired += 1);
                ctx.fire_exception_caught(Failure::msg("fired"));
            }
            9 => {
                with(|model| model.fired += 1);
                return Err(Failure::msg("failed"));
            }
            10 => {
                with(|model| model.written += 1);
                let promise = ctx.new_promise();
                ctx.notify(&promise, 1);
                ctx.write_with(Message::new(u64::MAX), promise);
                ctx.flush();
            }
            _ => {
                ctx.set_auto_read(false);
                ctx.read();
            }
        }
        Ok(())
    }
}

impl Handler for Stage {
    /// All but read(), which only one kind looks at.
    fn declared(&self) -> Option<Declared> {
        let inbound = [
            Declared::CHANNEL_REGISTERED,
            Declared::CHANNEL_UNREGISTERED,
            Declared::CHANNEL_ACTIVE,
            Declared::CHANNEL_INACTIVE,
            Declared::CHANNEL_READ,
            Declared::CHANNEL_READ_COMPLETE,
            Declared::USER_EVENT_TRIGGERED,
            Declared::EXCEPTION_CAUGHT,
        ];
        let all = inbound.into_iter().reduce(Declared::and);
        match self.kind {
            Kind::Taker => all.map(|all| all.and(Declared::READ)),
            _ => all,
        }
    }

    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::New], Phase::Added);
        let handle = ctx.handle::<Self>();
        with(|model| model.stages[self.id].handle = Some(handle));
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        let is_taken_out = with(|model| model.is_lossy);
        let from: &[Phase] = match is_taken_out {
            true => &[
                Phase::Added,
                Phase::Registered,
                Phase::Active,
                Phase::Unregistered,
                Phase::Inactive,
            ],
            false => &[Phase::Unregistered],
        };
        self.enter(from, Phase::Removed);
        Ok(())
    }

    fn channel_registered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Added], Phase::Registered);
        ctx.fire_channel_registered();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Registered], Phase::Active);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Active], Phase::Inactive);
        if !self.held.is_empty() {
            let (id, held) = (self.id, self.held.len());
            with(|model| {
                model.complain(format!("stage {id}: inactive, and {held} ranges are held"))
            });
        }
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_unregistered(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.enter(&[Phase::Inactive], Phase::Unregistered);
        ctx.fire_channel_unregistered();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.lives("a message");
        let range = *msg
            .downcast_ref::<Range>()
            .ok_or("no range")
            .map_err(Failure::msg)?;
        self.see(range);
        if self.kind == Kind::Split {
            let is_first = self.held.is_empty();
            self.held.push_back(range);
            if is_first {
                self.give_one(ctx);
            }
        } else {
            self.give(ctx, range);
        }
        with(|model| model.stages[self.id].messages += 1);
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.lives("a resume");
        self.give_one(ctx);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.lives("the end of a batch");
        let id = self.id;
        with(|model| model.note(|| format!("stage {id}: the end of a batch")));
        if self.kind == Kind::Echo {
            ctx.flush();
        }
        if id == 0 && !ctx.auto_read() && with(|model| model.drives) {
            ctx.read();
        }
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        self.lives("an event");
        if let Some(Event(number)) = event.downcast_ref::<Event>() {
            if *number < self.events {
                let (id, due) = (self.id, self.events);
                with(|model| {
                    model.complain(format!("stage {id}: event {number} where {due} was due"))
                });
            }
            self.events = number + 1;
            if self.id == 0 {
                with(|model| model.events_seen += 1);
            }
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.lives("an error");
        if self.id == 0 {
            with(|model| model.caught += 1);
        } else {
            ctx.fire_exception_caught(cause);
        }
        Ok(())
    }

    fn write_done(
        &mut self,
        _ctx: &mut Context<'_>,
        _key: u64,
        _result: Result<(), Error>,
    ) -> HandlerResult {
        Ok(())
    }

    /// Only where it is declared.
    fn read(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        let id = self.id;
        with(|model| model.note(|| format!("stage {id}: read()")));
        ctx.read();
        Ok(())
    }
}

/// Feeds a range.
pub fn feed(count: u64) {
    let signal = with(|model| {
        let range = (model.fed, count);
        model.fed += count;
        model.source.push_back(Source::Range(range));
        model.signal.clone()
    });
    if let Some(signal) = signal {
        signal.readable();
    }
}

/// Fires the next event from the head.
pub fn fire_event(channel: &Channel) {
    let number = with(|model| {
        model.events += 1;
        model.events - 1
    });
    channel.fire_user_event_triggered(Message::new(Event(number)));
}
