//! Handlers without a memory, for the random model: what one does in a callback follows from the seed, its number, the
//! callback and the event ([`acts`]). Real handlers and the model ask the same function, so they part ways only when one
//! of them is wrong.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use tidegate::{
    Context, EmbeddedChannel, Error, Failure, Handler, HandlerResult, Message, Promise,
};

use crate::common::outliving;

/// At most this many handlers stand in a pipeline.
pub const HANDLERS_MAX: usize = 6;
/// After this many actions of one round every callback just passes its event on.
pub const ACTIONS_MAX: u32 = 300;

// ---- what both sides share

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ev {
    pub id: u32,
    /// How many generations of events may still follow from this one.
    pub fuel: u32,
}

impl fmt::Display for Ev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.id)
    }
}

impl std::error::Error for Ev {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callback {
    Added,
    Removed,
    Read,
    Event,
    Error,
    Write,
    Flush,
    After,
    Resume,
}

#[derive(Clone, Copy, Debug)]
pub enum Place {
    First,
    Last,
    Before(usize),
    After(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// The event itself goes on.
    Pass,
    Fire(Ev),
    FireEvent(Ev),
    FireError(Ev),
    /// From the head, as an emission.
    FireHead(Ev),
    /// From the head, by the root queue.
    FireRoot(Ev),
    Write(Ev),
    Flush,
    ChannelWrite(Ev),
    ChannelFlush,
    After(Ev),
    Resume,
    Add(Place),
    Remove(usize),
    RemoveSelf,
    Replace(usize),
    ReplaceSelf,
    Fail,
}

/// Marsaglia's xorshift, 64 bits.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Spread the bits of small seeds; zero is the one state that it must not have.
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 20) % n
    }
}

/// What handler `who` does in `callback` with `ev`.
pub fn acts(seed: u64, who: u32, callback: Callback, ev: Ev) -> Vec<Act> {
    let key = (u64::from(who) << 40) ^ (u64::from(ev.id) << 4) ^ callback as u64;
    let mut random = Random::new(seed ^ key.wrapping_mul(0x0100_0000_01B3));
    let mut acts = Vec::new();
    let count = if ev.fuel == 0 { 0 } else { random.below(4) };
    // Callbacks that end something only say a last word.
    let is_quiet = matches!(
        callback,
        Callback::Added | Callback::Removed | Callback::Flush
    );
    for _ in 0..count {
        let child = Ev {
            id: random.next() as u32 >> 8,
            fuel: ev.fuel - 1,
        };
        let at = random.below(8) as usize;
        let act = match random.below(if is_quiet { 9 } else { 20 }) {
            0 | 1 => Act::Fire(child),
            2 => Act::FireEvent(child),
            3 => Act::FireError(child),
            4 => Act::FireHead(child),
            5 => Act::FireRoot(child),
            6 => Act::Write(child),
            7 => Act::After(child),
            8 => Act::Flush,
            9 | 10 => Act::ChannelWrite(child),
            11 => Act::ChannelFlush,
            12 => Act::Resume,
            13 => Act::Add(Place::After(at)),
            14 => Act::Add([Place::First, Place::Last, Place::Before(at)][at % 3]),
            15 => Act::Remove(at),
            16 => Act::RemoveSelf,
            17 => Act::Replace(at),
            18 => Act::ReplaceSelf,
            _ => Act::Fail,
        };
        acts.push(act);
    }
    let passes = matches!(
        callback,
        Callback::Read | Callback::Event | Callback::Error | Callback::Write | Callback::Flush
    );
    if passes && (ev.fuel == 0 || random.below(4) > 0) {
        let at = random.below(acts.len() as u64 + 1) as usize;
        acts.insert(at, Act::Pass);
    }
    acts
}

// ---- the real side

/// What the actors of one pipeline share.
struct Stage {
    seed: u64,
    log: RefCell<Vec<String>>,
    actions: Cell<u32>,
    handlers: Cell<u32>,
}

struct Actor {
    who: u32,
    resumes: u32,
    stage: Rc<Stage>,
}

impl Actor {
    fn new(stage: &Rc<Stage>) -> Self {
        let who = stage.handlers.get();
        stage.handlers.set(who + 1);
        Self {
            who,
            resumes: 0,
            stage: stage.clone(),
        }
    }

    fn name(&self) -> String {
        self.who.to_string()
    }

    fn play(
        &self,
        ctx: &mut Context<'_>,
        callback: Callback,
        ev: Ev,
        mut pass: impl FnMut(&mut Context<'_>),
    ) -> HandlerResult {
        self.stage
            .log
            .borrow_mut()
            .push(format!("{} {callback:?} {ev}", self.who));
        let mut fails = false;
        for act in acts(self.stage.seed, self.who, callback, ev) {
            if self.stage.actions.get() >= ACTIONS_MAX && !matches!(act, Act::Pass) {
                continue;
            }
            self.stage.actions.set(self.stage.actions.get() + 1);
            match act {
                Act::Pass => pass(ctx),
                Act::Fire(ev) => ctx.fire_channel_read(Message::new(ev)),
                Act::FireEvent(ev) => ctx.fire_user_event_triggered(Message::new(ev)),
                Act::FireError(ev) => ctx.fire_exception_caught(ev),
                Act::FireHead(ev) => ctx.pipeline().fire_channel_read(Message::new(ev)),
                Act::FireRoot(ev) => ctx.channel().fire_channel_read(Message::new(ev)),
                Act::Write(ev) => ctx.write(Message::new(ev)),
                Act::Flush => ctx.flush(),
                Act::ChannelWrite(ev) => ctx.channel().write(Message::new(ev)),
                Act::ChannelFlush => ctx.channel().flush(),
                Act::After(ev) => ctx.after(u64::from(ev.id) << 8 | u64::from(ev.fuel)),
                Act::Resume => ctx.resume(),
                Act::Fail => fails = true,
                Act::Add(_)
                | Act::Remove(_)
                | Act::RemoveSelf
                | Act::Replace(_)
                | Act::ReplaceSelf => {
                    self.edit(ctx, act)?;
                }
            }
        }
        if fails { Err(ev.into()) } else { Ok(()) }
    }

    fn edit(&self, ctx: &mut Context<'_>, act: Act) -> Result<(), Error> {
        let mut pipeline = ctx.pipeline();
        let names = pipeline.names();
        let at = |at: usize| names.get(at % names.len().max(1));
        match act {
            Act::Add(place) if names.len() < HANDLERS_MAX => {
                let new = Actor::new(&self.stage);
                let name = new.name();
                match place {
                    Place::First => pipeline.add_first_named(&name, new),
                    Place::Last => pipeline.add_last_named(&name, new),
                    Place::Before(i) => match at(i) {
                        Some(base) => pipeline.add_before(base, Some(&name), new),
                        None => pipeline.add_last_named(&name, new),
                    },
                    Place::After(i) => match at(i) {
                        Some(base) => pipeline.add_after(base, Some(&name), new),
                        None => pipeline.add_last_named(&name, new),
                    },
                }
            }
            Act::Remove(i) => at(i).map_or(Ok(()), |name| pipeline.remove(name)),
            Act::RemoveSelf if names.contains(&self.name()) => pipeline.remove(&self.name()),
            Act::Replace(i) => match at(i) {
                Some(old) => {
                    let new = Actor::new(&self.stage);
                    pipeline.replace(old, Some(&new.name()), new)
                }
                None => Ok(()),
            },
            Act::ReplaceSelf if names.contains(&self.name()) => {
                let new = Actor::new(&self.stage);
                pipeline.replace(&self.name(), Some(&new.name()), new)
            }
            _ => Ok(()),
        }
    }
}

fn ev_of(msg: &Message) -> Ev {
    *msg.downcast_ref().expect("only such messages travel here")
}

/// What a callback without an event of its own has in hand: enough to say something once.
pub const NOTHING: Ev = Ev { id: 0, fuel: 1 };

impl Handler for Actor {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.play(ctx, Callback::Added, NOTHING, |_| ())
    }

    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.play(ctx, Callback::Removed, NOTHING, |_| ())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let ev = ev_of(&msg);
        self.play(ctx, Callback::Read, ev, |ctx| {
            ctx.fire_channel_read(Message::new(ev))
        })
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        let ev = ev_of(&event);
        self.play(ctx, Callback::Event, ev, |ctx| {
            ctx.fire_user_event_triggered(Message::new(ev))
        })
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let ev = *cause
            .downcast_ref::<Ev>()
            .expect("only such errors travel here");
        // An error of exception_caught itself goes nowhere, in the model as well.
        self.play(ctx, Callback::Error, ev, |ctx| {
            ctx.fire_exception_caught(ev)
        })
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, _: Promise) -> HandlerResult {
        let ev = ev_of(&msg);
        self.play(ctx, Callback::Write, ev, |ctx| ctx.write(Message::new(ev)))
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.play(ctx, Callback::Flush, Ev { id: 0, fuel: 0 }, |ctx| {
            ctx.flush()
        })
    }

    fn after(&mut self, ctx: &mut Context<'_>, key: u64) -> HandlerResult {
        let ev = Ev {
            id: (key >> 8) as u32,
            fuel: (key & 0xFF) as u32,
        };
        self.play(ctx, Callback::After, ev, |_| ())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.resumes += 1;
        self.play(
            ctx,
            Callback::Resume,
            Ev {
                id: self.resumes,
                fuel: 2,
            },
            |_| (),
        )
    }
}

/// What happened, what reached the tail, what reached the head.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub log: Vec<String>,
    pub inbound: Vec<u32>,
    pub outbound: Vec<u32>,
}

pub fn reality(seed: u64, handlers: u32, rounds: u32) -> Outcome {
    let stage = Rc::new(Stage {
        seed,
        log: RefCell::default(),
        actions: Cell::new(ACTIONS_MAX),
        handlers: Cell::new(0),
    });
    let mut channel = EmbeddedChannel::with_options(&outliving(), |pipeline| {
        for _ in 0..handlers {
            let actor = Actor::new(&stage);
            pipeline.add_last_named(&actor.name(), actor)?;
        }
        Ok::<(), Error>(())
    })
    .expect("nothing fails before the first event");
    stage.log.borrow_mut().clear();
    for round in 0..rounds {
        stage.actions.set(0);
        channel.pipeline(|pipeline| pipeline.fire_channel_read(Message::new(first(round))));
        // Errors that reached the tail; they are in the log of the handlers they passed.
        let _ = channel.check();
    }
    stage.actions.set(ACTIONS_MAX);
    channel.run(|channel| channel.flush());
    let inbound = std::iter::from_fn(|| channel.read_inbound());
    let inbound = inbound.map(|msg| ev_of(&msg).id).collect();
    let outbound = std::iter::from_fn(|| channel.read_outbound());
    let outbound = outbound.map(|msg| ev_of(&msg).id).collect();
    let log = stage.log.take();
    Outcome {
        log,
        inbound,
        outbound,
    }
}

pub fn first(round: u32) -> Ev {
    Ev { id: round, fuel: 4 }
}
