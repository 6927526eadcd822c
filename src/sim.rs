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
//! What a test has to leave alone: other threads (groups, the pool that closes lingering sockets, the resolver for
//! names), [`sync`](crate::ChannelFuture::sync), which would wait for a world that nobody turns, and
//! [`LocalEventLoop::as_fd`]. A wait of a loop outside of its world, with no timeout and nothing under way, panics
//! instead of sleeping for ever.
//!
//! How it is made, and how it is held to what Linux does, is told at `tidegate_sys::os::sim`.

use std::fmt;
use std::time::Duration;

pub use tidegate_sys::os::sim::{Faults, Peer, PeerListener, Plan, Random, Simulation};

use crate::error::Error;
use crate::event_loop::{EventLoop, LocalEventLoop, LocalEventLoopBuilder};

/// Steps in a row in which the clock did not move, before a world is called spinning. A step in which bytes move is
/// one of them, so this is far above what a test needs.
const BUSY_STEPS_MAX: u32 = 100_000;

/// A simulated machine and the event loops on it.
///
/// Dropping it ends the loops first, and then the machine.
pub struct World {
    loops: Vec<LocalEventLoop>,
    random: Random,
    busy_steps: u32,
    last: Step,
    // The last to be dropped.
    simulation: Simulation,
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
        let random = Random::new(!plan.seed);
        let simulation = Simulation::install(plan)
            .map_err(|error| Error::io("installing a simulated kernel", error))?;
        Ok(Self {
            loops: Vec::new(),
            random,
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
        self.loops.push(local);
        Ok(handle)
    }

    /// The machine: its clock, its log, peers without a loop.
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// One turn of each loop, in an order that is drawn. If none had anything to do the clock moves on to the next
    /// packet or deadline, by itself or because one of the loops waits for it.
    pub fn step(&mut self) -> Step {
        self.last = self.make_step();
        self.last
    }

    fn make_step(&mut self) -> Step {
        let before = self.simulation.activity();
        let first = self.random.below(self.loops.len() as u64) as usize;
        let (front, back) = self.loops.split_at(first);
        for each in back.iter().chain(front) {
            each.turn(Some(Duration::ZERO));
        }
        let wanted = self.loops.iter().filter_map(LocalEventLoop::wants_turn_in);
        let wanted = wanted.min();
        if wanted == Some(Duration::ZERO) || self.simulation.activity() > before {
            self.busy_steps += 1;
            return Step::Busy;
        }
        self.busy_steps = 0;
        let arrival = self.simulation.next_arrival();
        let Some(pause) = [wanted, arrival].into_iter().flatten().min() else {
            return Step::Idle;
        };
        if !self.loops.is_empty() && self.random.one_in(2) {
            let lot = self.random.below(self.loops.len() as u64) as usize;
            self.loops[lot].turn(Some(pause));
        } else {
            self.simulation.advance(pause);
        }
        Step::Waited
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

    /// Ends the loops, and with them their channels; the machine stays, to be asked for what is left.
    pub fn drop_loops(&mut self) {
        self.loops.clear();
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("loops", &self.loops)
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}
