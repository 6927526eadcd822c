//! Who holds a loop is named while it still does. Nobody sleeps here for a time that has to be long enough: whoever blocks
//! does so until the watcher has spoken.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use tidegate::event_loop::Spin;
use tidegate::{
    Bootstrap, Channel, Context, EventLoop, EventLoopGroup, Handler, HandlerResult, Message,
    Promise,
};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::telling::line_of;

const DEADLINE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(40);

// ---- what was said

/// Warnings of the whole process: the watcher has a thread of its own.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
static MORE: Condvar = Condvar::new();

struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        said().push(line_of(event));
        MORE.notify_all();
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

fn said() -> MutexGuard<'static, Vec<String>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group that is watched, and listened to.
fn watched(name: &str, threads: usize, spin: Spin) -> EventLoopGroup {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        tracing::subscriber::set_global_default(Warnings).expect("nobody else listens");
    });
    EventLoopGroup::builder()
        .name(name)
        .threads(threads)
        .spin(spin)
        .stall_watcher(LIMIT)
        .build()
        .expect("built")
}

/// The lines about a loop that contain all of `words`.
fn about<'a>(
    event_loop: &EventLoop,
    words: &[&str],
    lines: &'a [String],
) -> impl Iterator<Item = &'a String> {
    let name = format!("loop_name=\"{}\"", event_loop.name());
    lines
        .iter()
        .filter(move |line| line.contains(&name) && words.iter().all(|word| line.contains(word)))
}

/// Waits for the `count`th line about a loop that contains all of `words`, and gives it.
fn heard(event_loop: &EventLoop, count: usize, words: &[&str]) -> String {
    let name = event_loop.name();
    let until = Instant::now() + DEADLINE;
    let mut lines = said();
    loop {
        if let Some(line) = about(event_loop, words, &lines).nth(count - 1) {
            return line.clone();
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "no {words:?} was said of {name}: {lines:#?}"
        );
        lines = MORE
            .wait_timeout(lines, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

// ---- who blocks

/// Closed until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().expect("nobody panics with the lock") = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_open = self.0.0.lock().expect("nobody panics with the lock");
        let (_open, waited) = self
            .0
            .1
            .wait_timeout_while(is_open, DEADLINE, |is_open| !*is_open)
            .expect("nobody panics with the lock");
        assert!(!waited.timed_out(), "nobody has opened the gate");
    }
}

/// Blocks in what it reads, after having written it back.
struct Reads(Gate);

impl Handler for Reads {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        self.0.pass();
        Ok(())
    }
}

/// Blocks in what is written.
struct Writes(Gate);

impl Handler for Writes {
    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.0.pass();
        ctx.write_with(msg, promise);
        Ok(())
    }
}

/// A connection of the group's first loop with these gates in its handlers, and its peer.
fn connected(group: &EventLoopGroup, read: &Gate, write: &Gate) -> (Channel, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let (read, write) = (read.clone(), write.clone());
    let channel = Bootstrap::new(group)
        .handler(move |pipeline| {
            pipeline.add_last(Writes(write.clone()))?;
            pipeline.add_last(Reads(read.clone()))
        })
        .connect(listener.local_addr().expect("it has one"))
        .sync_timeout(DEADLINE)
        .expect("connected");
    let (peer, _) = listener.accept().expect("accepted");
    (channel, peer)
}

fn first(group: &EventLoopGroup) -> EventLoop {
    group.iter().next().expect("one at least").clone()
}

// ---- the tests

#[test]
fn a_handler_is_named_while_it_holds_its_loop_and_again_when_it_lets_go() {
    let group = watched("reads", 1, Spin::Off);
    let (read, write) = (Gate::default(), Gate::default());
    write.open();
    let (channel, mut peer) = connected(&group, &read, &write);
    peer.write_all(b"hold on").expect("written");
    let event_loop = channel.event_loop().clone();
    let line = heard(&event_loop, 1, &["held up by a handler", "\"Reads\""]);
    assert!(line.starts_with("WARN "), "{line}");
    assert!(line.contains("callback=\"channel_read\""), "{line}");
    assert!(
        line.contains(&format!("channel={}", channel.id())),
        "{line}"
    );
    assert!(event_loop.metrics().stalls >= 1, "counted while it holds");
    // Told again, each time it is twice as long.
    heard(&event_loop, 2, &["\"Reads\""]);
    // Before that the machine may have held it up as well.
    let before = about(&event_loop, &["goes on"], &said()).count();
    read.open();
    heard(&event_loop, before + 1, &["goes on"]);
    let metrics = event_loop.metrics();
    assert!(metrics.time_stalled >= 2 * LIMIT, "{metrics}");
    assert!(metrics.to_string().contains("held up"), "{metrics}");
}

#[test]
fn of_nested_handlers_the_one_that_runs_is_named() {
    let group = watched("nested", 1, Spin::Off);
    let (read, write) = (Gate::default(), Gate::default());
    let (channel, mut peer) = connected(&group, &read, &write);
    peer.write_all(b"hold on").expect("written");
    let event_loop = channel.event_loop();
    let line = heard(event_loop, 1, &["\"Writes\""]);
    assert!(line.contains("callback=\"write\""), "{line}");
    write.open();
    // The same stall goes on in the handler that has called the other one.
    let line = heard(event_loop, 1, &["\"Reads\""]);
    assert!(line.contains("callback=\"channel_read\""), "{line}");
    read.open();
    heard(event_loop, 1, &["goes on"]);
}

#[test]
fn tasks_timers_listeners_and_futures_are_named_by_their_types() {
    fn blocks(gate: &Gate) {
        gate.pass();
    }
    type Give = fn(&EventLoop, Gate);
    let ways: [(&str, &str, Give); 5] = [
        ("task", "a task", |event_loop, gate| {
            event_loop.execute(move || blocks(&gate)).expect("alive");
        }),
        ("local", "a task", |event_loop, gate| {
            let again = event_loop.clone();
            event_loop
                .execute(move || again.execute(move || blocks(&gate)).expect("alive"))
                .expect("alive");
        }),
        ("timer", "a timer", |event_loop, gate| {
            drop(event_loop.schedule(Duration::ZERO, move || blocks(&gate)));
        }),
        ("listener", "a listener", |event_loop, gate| {
            let done = event_loop.submit(|| ());
            done.add_listener(move |_| blocks(&gate));
        }),
        ("future", "a task", |event_loop, gate| {
            drop(event_loop.spawn_local(|| async move { blocks(&gate) }));
        }),
    ];
    for (name, what, give) in ways {
        let group = watched(name, 1, Spin::Off);
        let gate = Gate::default();
        let event_loop = first(&group);
        give(&event_loop, gate.clone());
        let type_name = "tasks_timers_listeners_and_futures_are_named";
        heard(&event_loop, 1, &["held up by", what, "task=", type_name]);
        gate.open();
        heard(&event_loop, 1, &["goes on"]);
    }
}

/// A loop that loses its processor at the end of its task is held up indeed: then it is done again.
#[test]
fn a_loop_that_sleeps_or_polls_is_not_held() {
    for (name, spin) in [("asleep", Spin::Off), ("polls", Spin::For(DEADLINE))] {
        let group = watched(name, 2, spin);
        let loops: Vec<EventLoop> = group.iter().cloned().collect();
        let begun = Instant::now();
        for round in 1.. {
            loops[0].submit(|| ()).sync_timeout(DEADLINE).expect("run");
            let before = loops[0].metrics();
            // The watcher looks at both of them whenever it looks.
            let gate = Gate::default();
            let held = gate.clone();
            let told = about(&loops[1], &["held up by"], &said()).count();
            loops[1].execute(move || held.pass()).expect("alive");
            heard(&loops[1], told + 3, &["held up by"]);
            let stalls = loops[0].metrics().since(&before).stalls;
            gate.open();
            heard(&loops[1], round, &["goes on"]);
            if stalls == 0 {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "{name}: {stalls} stalls");
        }
        group.stop().sync_timeout(DEADLINE).expect("stopped");
    }
}

#[test]
fn what_panics_in_the_end_has_let_go() {
    let group = watched("panics", 1, Spin::Off);
    let gate = Gate::default();
    let event_loop = first(&group);
    let held = gate.clone();
    event_loop
        .execute(move || {
            held.pass();
            // No message: nothing is to be seen of it in the output of the tests.
            std::panic::resume_unwind(Box::new("on purpose"));
        })
        .expect("alive");
    heard(&event_loop, 1, &["held up"]);
    gate.open();
    heard(&event_loop, 1, &["goes on"]);
    event_loop
        .submit(|| ())
        .sync_timeout(DEADLINE)
        .expect("it lives");
}
