//! Event loops on a simulated kernel (cargo feature `sim`): for testing what is built on Tidegate, and Tidegate itself.
//!
//! A [`World`] is a simulated machine with event loops on it, all on the calling thread. Everything above the system
//! calls is the real library: bootstraps, pipelines, TCP channels. Below them is memory: sockets with small buffers, a
//! slow network, a clock that moves when nobody has anything to do, and the faults of a [`Plan`]: short reads and writes,
//! EAGAIN, EINTR, late and spurious readiness, failing accepts, refused and lost connects, resets and silence in the
//! middle of a stream. All of it follows from one number: the same seed makes the same run.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//! use tidegate::sim::{Faults, Outcome, Plan, World};
//! use tidegate::{Bootstrap, Context, Handler, HandlerResult, Message, ServerBootstrap};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
//!         ctx.write_and_flush(msg);
//!         Ok(())
//!     }
//! }
//!
//! let address: SocketAddr = "10.0.0.1:7".parse().unwrap();
//! for seed in 0..10 {
//!     // Slow, small and late, but no connection breaks.
//!     let plan = Plan::stormy(seed);
//!     let faults = plan.faults.harmless();
//!     let mut world = World::new(plan.with_faults(faults))?;
//!     let event_loop = world.add_loop(|builder| builder)?;
//!     let server = ServerBootstrap::new(&event_loop, &event_loop)
//!         .child_handler(|pipeline| pipeline.add_last(Echo))
//!         .bind(address);
//!     world.run_until(Duration::from_secs(1), || server.is_done());
//!
//!     let peer = world.simulation().connect(address).expect("a free descriptor");
//!     world.run_until(Duration::from_secs(200), || peer.is_connected());
//!     peer.send(b"hello").expect("room for five bytes");
//!     let mut answer = Vec::new();
//!     let outcome = world.run_until(Duration::from_secs(10), || {
//!         let mut room = [0; 8];
//!         let count = peer.receive(&mut room).unwrap_or(0);
//!         answer.extend_from_slice(&room[..count]);
//!         answer == b"hello"
//!     });
//!     assert_eq!(outcome, Outcome::Done, "seed {seed}\n{}", world.simulation().log());
//! }
//! # Ok::<(), tidegate::Error>(())
//! ```
//!
//! A loop that sleeps is turned when its wait would have ended, and not before: by readiness, by its waker, by its own
//! deadline. So a wake-up that is forgotten is missing here as well, although everything is on one thread.
//!
//! What a test has to leave alone: other threads (groups, the pool that closes lingering sockets, the resolver for
//! names), [`sync`](crate::ChannelFuture::sync), which would wait for a world that nobody turns, and
//! [`LocalEventLoop::as_fd`]. A wait of a loop outside of its world, with no timeout and nothing under way, panics
//! instead of sleeping for ever.
//!
//! How it is made, and how it is held to what Linux does, is told at `tidegate_sys::os::sim`.

use std::fmt;
use std::time::Duration;

pub use tidegate_sys::os::sim::{
    CALLS, Failing, Faults, Name, Peer, PeerListener, Plan, Random, Simulation,
};

use crate::error::Error;
use crate::event_loop::{EventLoop, EventLoopGroup, LocalEventLoop, LocalEventLoopBuilder};

/// Steps in a row in which the clock did not move, before a world is called spinning. A step in which bytes move is
/// one of them, so this is far above what a test needs.
const BUSY_STEPS_MAX: u32 = 100_000;

/// A simulated machine and the event loops on it.
///
/// Dropping it ends the loops first, and then the machine.
pub struct World {
    loops: Vec<Member>,
    random: Random,
    /// Whether a loop may be woken although nothing has happened to it, as by a signal.
    wakes_for_nothing: bool,
    busy_steps: u32,
    last: Step,
    // The last to be dropped.
    simulation: Simulation,
}

/// A loop, and what it does between its turns.
struct Member {
    local: LocalEventLoop,
    state: State,
    /// Turns since it last slept.
    turns_awake: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It goes round.
    Awake,
    /// It had nothing left to do when its last turn ended; one more that finds nothing, and it sleeps. In between what was
    /// registered in that turn is looked at for the first time.
    Drowsy,
    /// It waits: until then at most, by the simulation's clock.
    Asleep(Option<Duration>),
}

/// What a [`World::step`] was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Some loop had something to do, or has.
    Busy,
    /// None had, and the clock moved on to the next thing that happens.
    Waited,
    /// Nothing happens any more, unless somebody does something.
    Idle,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// What was waited for has come.
    Done,
    /// It did not, in that much simulated time.
    TimedOut,
    /// It did not, and nothing happens any more.
    Idle,
    /// The loops are busy, step after step, and get nowhere.
    Spinning,
}

impl World {
    /// A machine of this plan, without loops.
    ///
    /// # Errors
    /// An I/O error if the thread is in a simulation already, or the real machine has no descriptors left.
    pub fn new(plan: Plan) -> Result<Self, Error> {
        // Not the sequence of the machine itself.
        let mut random = Random::new(!plan.seed);
        let wakes_for_nothing = random.one_in(2);
        let simulation = Simulation::install(plan)
            .map_err(|error| Error::io("installing a simulated kernel", error))?;
        Ok(Self {
            loops: Vec::new(),
            random,
            wakes_for_nothing,
            busy_steps: 0,
            last: Step::Busy,
            simulation,
        })
    }

    /// Adds a loop with the choices that `choose` makes, and returns its handle.
    ///
    /// # Errors
    /// As [`LocalEventLoopBuilder::build`].
    pub fn add_loop(
        &mut self,
        choose: impl FnOnce(LocalEventLoopBuilder) -> LocalEventLoopBuilder,
    ) -> Result<EventLoop, Error> {
        let local = choose(LocalEventLoop::builder()).build()?;
        let handle = local.handle().clone();
        self.loops.push(Member {
            local,
            state: State::Awake,
            turns_awake: 0,
        });
        Ok(handle)
    }

    /// Adds so many loops with the choices that `choose` makes, and returns them as a group: for handlers on another group's
    /// loop ([`Pipeline::add_last_on`](crate::Pipeline::add_last_on)). Dropping its last clone asks them to end, as with every
    /// group.
    ///
    /// # Errors
    /// As [`LocalEventLoopBuilder::build`].
    ///
    /// # Panics
    /// With a count of zero.
    pub fn add_group(
        &mut self,
        count: usize,
        choose: impl Fn(LocalEventLoopBuilder) -> LocalEventLoopBuilder,
    ) -> Result<EventLoopGroup, Error> {
        assert!(count > 0, "a group has one loop at least");
        let loops = (0..count).map(|_| self.add_loop(&choose));
        Ok(EventLoopGroup::of(loops.collect::<Result<_, _>>()?))
    }

    /// The machine: its clock, its log, peers without a loop.
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// One turn of this loop, whether it is awake or not, and of no other: where a test decides who is slow. Nothing for a loop
    /// of another world.
    pub fn turn_of(&mut self, event_loop: &EventLoop) {
        let is_this = |member: &Member| member.local.handle() == event_loop;
        if let Some(index) = self.loops.iter().position(is_this) {
            self.turn(index, Duration::ZERO);
        }
    }

    /// One turn of each loop that is awake, in an order that is drawn. If all of them sleep the clock moves on to the next
    /// packet or deadline, by itself or because one of the loops waits for it.
    pub fn step(&mut self) -> Step {
        self.last = self.make_step();
        self.last
    }

    fn make_step(&mut self) -> Step {
        let count = self.loops.len();
        let first = self.random.below(count as u64) as usize;
        let mut is_busy = false;
        for index in (first..count).chain(0..first) {
            if self.is_awake(index) {
                is_busy = true;
                self.turn(index, Duration::ZERO);
            }
        }
        if is_busy {
            self.busy_steps += 1;
            return Step::Busy;
        }
        self.busy_steps = 0;
        let now = self.simulation.elapsed();
        let until = |member: &Member| match member.state {
            State::Asleep(until) => until,
            State::Awake | State::Drowsy => Some(now),
        };
        let wanted = self.loops.iter().filter_map(until).min();
        let arrival = self.simulation.next_arrival().map(|pause| now + pause);
        let Some(next) = [wanted, arrival].into_iter().flatten().min() else {
            return Step::Idle;
        };
        let pause = next.saturating_sub(now);
        let lot = self.random.below(count as u64) as usize;
        let waits_itself = self.loops.get(lot).is_some_and(|member| {
            self.wakes_for_nothing || until(member).is_some_and(|until| until <= next)
        });
        if waits_itself && self.random.one_in(2) {
            self.turn(lot, pause);
        } else {
            self.simulation.advance(pause);
        }
        Step::Waited
    }

    /// Whether a loop goes round: it has work, or what it waits for has come.
    fn is_awake(&self, index: usize) -> bool {
        match self.loops[index].state {
            State::Awake | State::Drowsy => true,
            State::Asleep(until) => {
                until.is_some_and(|until| until <= self.simulation.elapsed())
                    || self.simulation.has_news_for(index)
            }
        }
    }

    fn turn(&mut self, index: usize, limit: Duration) {
        let member = &mut self.loops[index];
        self.simulation.begin_turn_of(index);
        let activity = self.simulation.activity();
        let tasks = tasks_run(&member.local);
        member.local.turn(Some(limit));
        let wanted = member.local.wants_turn_in();
        let has_done_something =
            self.simulation.activity() != activity || tasks_run(&member.local) != tasks;
        let was_drowsy = member.state == State::Drowsy;
        member.turns_awake += 1;
        member.state = if wanted == Some(Duration::ZERO) {
            State::Awake
        } else if has_done_something || !was_drowsy {
            State::Drowsy
        } else {
            member.turns_awake = 0;
            let now = self.simulation.elapsed();
            State::Asleep(wanted.map(|wanted| now.saturating_add(wanted)))
        };
    }

    /// Makes steps until `done` says so, which is asked after each of them.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut() -> bool) -> Outcome {
        let until = self.simulation.elapsed().saturating_add(limit);
        while !done() {
            let step = self.step();
            if step == Step::Idle && !done() {
                return Outcome::Idle;
            }
            if self.busy_steps > BUSY_STEPS_MAX {
                return Outcome::Spinning;
            }
            if self.simulation.elapsed() > until {
                return if done() {
                    Outcome::Done
                } else {
                    Outcome::TimedOut
                };
            }
        }
        Outcome::Done
    }

    /// Makes steps for this much simulated time, or until nothing happens any more.
    pub fn run_for(&mut self, time: Duration) -> Outcome {
        match self.run_until(time, || false) {
            Outcome::TimedOut => Outcome::Done,
            other => other,
        }
    }

    /// Whether the last step was [`Step::Idle`].
    pub fn is_idle(&self) -> bool {
        self.last == Step::Idle
    }

    /// How many steps in a row the clock has not moved on, because a loop had something to do.
    pub fn busy_steps(&self) -> u32 {
        self.busy_steps
    }

    /// How many turns in a row the loop has made that was awake the longest.
    pub fn turns_awake(&self) -> u32 {
        let turns = self.loops.iter().map(|member| member.turns_awake);
        turns.max().unwrap_or(0)
    }

    /// Ends the loops, and with them their channels; the machine stays, to be asked for what is left.
    pub fn drop_loops(&mut self) {
        self.loops.clear();
    }
}

fn tasks_run(local: &LocalEventLoop) -> u64 {
    let metrics = local.handle().shared().metrics();
    metrics.tasks_run.get() + metrics.timers_run.get()
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("loops", &self.loops.len())
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}
