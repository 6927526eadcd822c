//! Loops that somebody holds: what came meanwhile lies in the kernel, and no timer may take it for silence.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::bootstrap::{Resolver, ServerBootstrap};
use tidegate::channel::Address;
use tidegate::channel::options::CONNECT_TIMEOUT;
use tidegate::future::TaskPromise;
use tidegate::handler::timeout::{
    IdleEvent, IdleState, ReadTimeout, UnwritableGuard, WriteTimeout,
};
use tidegate::sim::{Outcome, Peer, Plan, World};
use tidegate::transport::local::{Local, LocalAddress};
use tidegate::{
    Backend, Bootstrap, Context, Error, EventLoop, Failure, Handler, HandlerResult, Message,
    Pipeline,
};
use tidegate_sys::os::{Events, Selector};

/// What the watches of these tests allow, and how long the loop is held.
const PATIENCE: Duration = Duration::from_millis(50);
const HOLD: Duration = Duration::from_millis(200);
/// Simulated, so it costs nothing.
const LIMIT: Duration = Duration::from_secs(60);

const HOLDER: u16 = 1;
const WATCHED: u16 = 2;

thread_local! {
    /// What the holder does while it has the loop.
    static WHILE_HELD: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Lets simulated time pass on the stack of whoever calls it.
fn hold_the_loop() {
    let mut selector = Selector::open(Backend::EpollLevel).unwrap();
    selector.wait(&mut Events::new(), Some(HOLD)).unwrap();
}

/// Holds its loop with each message.
struct Holder;

impl Handler for Holder {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        let work = WHILE_HELD.with(|work| work.borrow_mut().take());
        work.expect("held once")();
        hold_the_loop();
        Ok(())
    }
}

/// What the last handler of the watched channel has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Handler for Heard {
    fn channel_active(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.add("active");
        Ok(())
    }

    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.add(String::from_utf8_lossy(msg.as_bytes().unwrap()));
        Ok(())
    }

    fn user_event_triggered(&mut self, _: &mut Context<'_>, event: Message) -> HandlerResult {
        if let Ok(event) = event.downcast::<IdleEvent>() {
            self.add(format!("idle {:?}", event.kind));
        }
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        self.add(cause.to_string());
        ctx.close();
        Ok(())
    }
}

/// A world with a server for the one who holds and one for those who are watched.
struct Story {
    world: World,
    event_loop: EventLoop,
    heard: Heard,
    holder: Peer,
    watched: Peer,
}

/// One task a turn, so that each queue of a loop comes first once.
fn one_by_one() -> Plan {
    Plan {
        tasks_max: Some(1),
        ..Plan::calm(1)
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

impl Story {
    fn new(
        backend: Backend,
        events_max: usize,
        watch: impl Fn(&mut Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        let mut world = World::new(Plan::calm(1)).unwrap();
        let event_loop = world
            .add_loop(|builder| builder.selector(backend).max_events_per_turn(events_max))
            .unwrap();
        Self::in_world(world, event_loop, watch)
    }

    fn in_world(
        mut world: World,
        event_loop: EventLoop,
        watch: impl Fn(&mut Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        let heard = Heard::default();
        let last = heard.clone();
        let holding = ServerBootstrap::new(&event_loop, &event_loop)
            .child_handler(|pipeline| pipeline.add_last(Holder))
            .bind(address(HOLDER));
        let watching = ServerBootstrap::new(&event_loop, &event_loop)
            .child_handler(move |pipeline| {
                watch(pipeline)?;
                pipeline.add_last(last.clone())
            })
            .bind(address(WATCHED));
        let bound = world.run_until(LIMIT, || holding.is_done() && watching.is_done());
        assert_eq!(bound, Outcome::Done);
        let holder = world.simulation().connect(address(HOLDER)).unwrap();
        let watched = world.simulation().connect(address(WATCHED)).unwrap();
        let all = world.run_until(LIMIT, || event_loop.metrics().channels == 4);
        assert_eq!(all, Outcome::Done);
        let mut story = Self {
            world,
            event_loop,
            heard,
            holder,
            watched,
        };
        story.until_heard("active");
        story
    }

    fn until_heard(&mut self, what: &str) {
        let heard = self.heard.clone();
        let outcome = self
            .world
            .run_until(LIMIT, || heard.all().iter().any(|each| each == what));
        assert_eq!(outcome, Outcome::Done, "{what:?} in {:?}", self.heard.all());
    }

    /// The read timeout has begun anew with what was heard last.
    fn next_silence_counts(&mut self) {
        let spoken = self.world.simulation().elapsed();
        self.until_heard("nothing was read for 50ms");
        assert_eq!(self.heard.all().len(), 3, "{:?}", self.heard.all());
        let silence = self.world.simulation().elapsed() - spoken;
        assert!(
            silence >= PATIENCE - PATIENCE / 10 && silence < 3 * PATIENCE,
            "{silence:?}"
        );
    }

    /// Holds the loop, and does this meanwhile.
    fn hold(&mut self, meanwhile: impl FnOnce() + 'static) {
        WHILE_HELD.with(|work| *work.borrow_mut() = Some(Box::new(meanwhile)));
        self.holder.send(b"hold").unwrap();
        let is_held = || WHILE_HELD.with(|work| work.borrow().is_none());
        assert_eq!(self.world.run_until(LIMIT, is_held), Outcome::Done);
    }
}

fn on_every_selector(test: impl Fn(Backend)) {
    for backend in [Backend::Epoll, Backend::EpollLevel, Backend::Poll] {
        if Backend::available().contains(&backend) {
            test(backend);
        }
    }
}

/// The peer has spoken in time, and the loop was late. The next silence counts.
///
/// Rules: H37
#[test]
fn a_read_timeout_looks_for_what_came_while_another_channel_held_the_loop() {
    on_every_selector(|backend| {
        let mut story = Story::new(backend, 1024, |p| p.add_last(ReadTimeout::new(PATIENCE)));
        let peer = std::rc::Rc::new(story.watched);
        let sender = peer.clone();
        story.watched = story.world.simulation().connect(address(HOLDER)).unwrap();
        story.hold(move || _ = sender.send(b"in time").unwrap());
        story.until_heard("in time");
        story.next_silence_counts();
    });
}

/// It came before the loop was held, and was read behind that, by a clock that was read before.
///
/// Rules: H37
#[test]
fn a_read_timeout_does_not_count_the_time_in_which_the_loop_was_held_before_a_read() {
    on_every_selector(|backend| {
        let mut story = Story::new(backend, 1024, |p| p.add_last(ReadTimeout::new(PATIENCE)));
        story.world.simulation().advance(PATIENCE / 2);
        story.holder.send(b"hold").unwrap();
        story.watched.send(b"in time").unwrap();
        WHILE_HELD.with(|work| *work.borrow_mut() = Some(Box::new(|| ())));
        // Both are in one batch of events.
        story.world.simulation().advance(Duration::from_millis(1));
        story.until_heard("in time");
        story.next_silence_counts();
        let turns = story.event_loop.metrics().turns;
        assert!(turns < 100, "{turns}");
    });
}

/// More is ready than one wait reports, and the last of it is what the timer waits for.
///
/// Rules: H37
#[test]
fn a_read_timeout_looks_for_what_is_behind_a_batch_of_events() {
    on_every_selector(|backend| {
        let mut story = Story::new(backend, 1, |p| p.add_last(ReadTimeout::new(PATIENCE)));
        let others: Vec<_> = (0..5)
            .map(|_| story.world.simulation().connect(address(HOLDER)).unwrap())
            .collect();
        let event_loop = story.event_loop.clone();
        let all = story
            .world
            .run_until(LIMIT, || event_loop.metrics().channels == 9);
        assert_eq!(all, Outcome::Done);
        for other in &others {
            other.shutdown(std::net::Shutdown::Write).unwrap();
        }
        story.watched.send(b"in time").unwrap();
        // Nobody turns the loop meanwhile.
        story.world.simulation().advance(HOLD);
        story.until_heard("in time");
        story.next_silence_counts();
    });
}

/// Rules: H34
#[test]
fn an_idle_reader_is_not_told_while_something_waits_to_be_read() {
    on_every_selector(|backend| {
        let mut story = Story::new(backend, 1024, |p| {
            p.add_last(IdleState::new().reader(PATIENCE).all(PATIENCE))
        });
        let peer = std::rc::Rc::new(story.watched);
        let sender = peer.clone();
        story.watched = story.world.simulation().connect(address(HOLDER)).unwrap();
        story.hold(move || _ = sender.send(b"in time").unwrap());
        story.until_heard("in time");
        story.until_heard("idle Reader");
        story.until_heard("idle All");
        assert_eq!(story.heard.all()[..2], ["active", "in time"]);
    });
}

/// A peer that reads while the loop is held makes room for what waits.
fn a_peer_that_reads_meanwhile(
    backend: Backend,
    watch: fn(&mut Pipeline<'_>) -> Result<(), Error>,
    complaint: &str,
) {
    /// A little more than the two buffers of the plan.
    const BLOCK: usize = 260_000;

    /// Sends more than there is room for.
    struct Source(Heard);

    impl Handler for Source {
        fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            let heard = self.0.clone();
            ctx.write_future(vec![7; BLOCK])
                .add_listener(move |_, sent| {
                    heard.add(sent.as_ref().map_or("failed", |()| "sent"));
                });
            ctx.flush();
            ctx.fire_channel_active();
            Ok(())
        }
    }

    let heard = Heard::default();
    let source = heard.clone();
    let mut story = Story::new(backend, 1024, move |p| {
        watch(p)?;
        p.add_last(Source(source.clone()))
    });
    let peer = std::rc::Rc::new(story.watched);
    let reader = peer.clone();
    story.watched = story.world.simulation().connect(address(HOLDER)).unwrap();
    // Until nothing moves any more.
    for _ in 0..5 {
        story.world.simulation().advance(PATIENCE / 8);
        story.world.turn_of(&story.event_loop);
    }
    story.hold(move || {
        let mut room = vec![0; BLOCK];
        while reader.receive(&mut room).is_ok() {}
    });
    let mut room = vec![0; BLOCK];
    let outcome = story.world.run_until(LIMIT, || {
        while matches!(peer.receive(&mut room), Ok(1..)) {}
        !heard.all().is_empty()
    });
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(heard.all(), ["sent"], "{:?}", story.heard.all());
    assert!(
        !story
            .heard
            .all()
            .iter()
            .any(|each| each.contains(complaint))
    );
}

/// Rules: H37
#[test]
fn a_write_timeout_looks_for_room_first() {
    on_every_selector(|backend| {
        let watch = |p: &mut Pipeline<'_>| p.add_last(WriteTimeout::new(PATIENCE));
        a_peer_that_reads_meanwhile(backend, watch, "not completed");
    });
}

#[test]
fn an_unwritable_guard_looks_for_room_first() {
    on_every_selector(|backend| {
        let watch = |p: &mut Pipeline<'_>| p.add_last(UnwritableGuard::new(PATIENCE));
        a_peer_that_reads_meanwhile(backend, watch, "read nothing");
    });
}

/// The connection is there, and the loop was late.
///
/// Rules: A17
#[test]
fn a_connect_that_has_succeeded_while_the_loop_was_held_is_no_timeout() {
    on_every_selector(|backend| {
        let slow = Plan {
            delay_ns: 5_000_000..=5_000_000,
            ..Plan::calm(1)
        };
        let mut world = World::new(slow).unwrap();
        let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
        let mut story = Story::in_world(world, event_loop.clone(), |_| Ok(()));
        let connecting = Bootstrap::new(&event_loop)
            .option(CONNECT_TIMEOUT, PATIENCE)
            .handler(|_: &mut Pipeline<'_>| Ok::<(), Error>(()))
            .connect(address(WATCHED));
        story.hold(|| ());
        let outcome = story.world.run_until(LIMIT, || connecting.is_done());
        assert_eq!(outcome, Outcome::Done);
        assert!(connecting.is_success(), "{:?}", connecting.cause());
    });
}

/// A resolver whose answers the test gives.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Option<TaskPromise<Vec<Address>>>>>);

impl Resolver for Asked {
    fn resolve(&self, _: &Arc<str>, _: u16, answer: TaskPromise<Vec<Address>>) {
        *self.0.lock().unwrap() = Some(answer);
    }
}

/// The answer came in time, as a task that nobody ran. Whatever the loop looks at first.
///
/// Rules: A17, G7
#[test]
fn a_look_up_that_was_answered_while_the_loop_was_held_is_no_timeout() {
    for turns in 0..8 {
        let mut world = World::new(one_by_one()).unwrap();
        let event_loop = world.add_loop(|builder| builder).unwrap();
        let mut story = Story::in_world(world, event_loop, |_| Ok(()));
        let asked = Asked::default();
        let connecting = Bootstrap::new(&story.event_loop)
            .option(CONNECT_TIMEOUT, PATIENCE)
            .resolver(asked.clone())
            .handler(|_: &mut Pipeline<'_>| Ok::<(), Error>(()))
            .connect("a.name:2");
        let begun = story
            .world
            .run_until(LIMIT, || asked.0.lock().unwrap().is_some());
        assert_eq!(begun, Outcome::Done);
        for _ in 0..turns {
            story.event_loop.execute(|| ()).unwrap();
            story.world.turn_of(&story.event_loop);
        }
        let answer = asked.0.lock().unwrap().take().unwrap();
        answer.complete(Ok(vec![address(WATCHED).into()]));
        story.world.simulation().advance(HOLD);
        let outcome = story.world.run_until(LIMIT, || connecting.is_done());
        assert_eq!(outcome, Outcome::Done);
        assert!(connecting.is_success(), "{turns}: {:?}", connecting.cause());
    }
}

/// The loop of the watch turns, and the channel's is held.
///
/// Rules: H37
#[test]
fn a_read_timeout_on_another_loop_asks_the_one_that_was_held() {
    on_every_selector(|backend| {
        let mut world = World::new(Plan::calm(1)).unwrap();
        let event_loop = world.add_loop(|builder| builder.selector(backend)).unwrap();
        let group = world.add_group(1, |builder| builder).unwrap();
        let elsewhere = group.clone();
        let mut story = Story::in_world(world, event_loop, move |p| {
            p.add_last_on(&elsewhere, || ReadTimeout::new(PATIENCE))
        });
        let other = group.iter().next().unwrap().clone();
        story.watched.send(b"in time").unwrap();
        story.world.simulation().advance(HOLD);
        for _ in 0..3 {
            story.world.turn_of(&other);
        }
        story.until_heard("in time");
        story.next_silence_counts();
    });
}

/// What has no descriptor is told by tasks, and these were not run.
///
/// Rules: H37
#[test]
fn a_read_timeout_waits_for_what_a_local_peer_has_sent() {
    for turns in 0..8 {
        let mut world = World::new(one_by_one()).unwrap();
        let mut add = || world.add_loop(|builder| builder).unwrap();
        let (held, other) = (add(), add());
        let heard = Heard::default();
        let last = heard.clone();
        let name = LocalAddress::unique();
        let server = ServerBootstrap::new(&held, &held)
            .transport::<Local>()
            .child_handler(move |pipeline| {
                pipeline.add_last(ReadTimeout::new(PATIENCE))?;
                pipeline.add_last(last.clone())
            })
            .bind(name.clone());
        assert_eq!(world.run_until(LIMIT, || server.is_done()), Outcome::Done);
        let client = Bootstrap::new(&other)
            .transport::<Local>()
            .handler(|_: &mut Pipeline<'_>| Ok::<(), Error>(()))
            .connect(name);
        let is_up = || client.is_done() && !heard.all().is_empty();
        assert_eq!(world.run_until(LIMIT, is_up), Outcome::Done);
        // Whichever of its queues the loop comes to first.
        for _ in 0..turns {
            held.execute(|| ()).unwrap();
            world.turn_of(&held);
        }
        client.channel().write_and_flush("in time");
        world.turn_of(&other);
        world.simulation().advance(HOLD);
        let is_over = || heard.all().len() == 3;
        assert_eq!(world.run_until(LIMIT, is_over), Outcome::Done);
        assert_eq!(
            heard.all(),
            ["active", "in time", "nothing was read for 50ms"],
            "{turns}"
        );
    }
}
