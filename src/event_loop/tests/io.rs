//! The core with a selector, on every backend, at three io_ratios, with and without spinning: socket
//! pairs for channels.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use tidegate_sys::os::{Backend, Interest, Time};

use super::*;
use crate::event_loop::budget::IoRatio;
use crate::event_loop::core::Clock;

fn each_way(test: impl Fn(&Rc<LoopCore>)) {
    for backend in Backend::available() {
        for percent in [1, 50, 100] {
            for spin in [Spin::Off, Spin::Count(20)] {
                let mut config = LoopConfig::named(format!("{backend} {percent} {spin:?}"));
                config.io_ratio = IoRatio::new(percent).expect("in range");
                config.spin = spin;
                config.backend = *backend;
                let parts = config.open().expect("a selector");
                let (handle, kit) = EventLoop::running(config, Some(parts));
                let core = LoopCore::new(handle, kit, Clock::system());
                test(&core);
                let _turn = core.enter();
                core.end_now();
            }
        }
    }
}

/// Makes turns until `is_done`; fails after so long.
fn drive(core: &Rc<LoopCore>, is_done: impl Fn() -> bool) {
    let deadline = core.now() + 30 * SECOND;
    while !is_done() {
        let left = deadline.saturating_since(core.now());
        assert!(left > Duration::ZERO, "{}: too late", core.handle().name());
        turn(core, left);
    }
}

/// Sends back what it reads, one small read per call: what is left goes by way of the ready list.
struct Echo {
    core: std::rc::Weak<LoopCore>,
    stream: UnixStream,
    echoed: Cell<usize>,
    is_shut: Cell<bool>,
}

impl Echo {
    fn new(core: &Rc<LoopCore>) -> (Rc<Self>, UnixStream) {
        let (stream, peer) = UnixStream::pair().expect("a socket pair");
        stream.set_nonblocking(true).expect("a socket");
        let echo = Rc::new(Self {
            core: Rc::downgrade(core),
            stream,
            echoed: Cell::new(0),
            is_shut: Cell::new(false),
        });
        let reactor = core.reactor().expect("a selector");
        reactor
            .register(echo.stream.as_fd(), Interest::READ, echo.clone())
            .expect("registered");
        core.attach(echo.clone());
        (echo, peer)
    }
}

impl IoHandle for Echo {
    fn on_event(self: Rc<Self>, event: IoEvent) {
        if event == IoEvent::Shutdown {
            self.is_shut.set(true);
            return;
        }
        let mut buffer = [0; 100];
        let Ok(n) = (&self.stream).read(&mut buffer) else {
            return;
        };
        if n > 0 {
            (&self.stream)
                .write_all(&buffer[..n])
                .expect("the peer reads");
            self.echoed.set(self.echoed.get() + n);
            let core = self.core.upgrade().expect("on its loop");
            core.push_ready(self);
        }
    }

    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

/// Rules: 5.1, 5.2.
#[test]
fn channels_are_served_beside_tasks_and_timers() {
    each_way(|core| {
        let (echoes, mut peers): (Vec<_>, Vec<_>) = (0..4).map(|_| Echo::new(core)).unzip();
        let ticks = Rc::new(Cell::new(0));
        fn tick(core: &Rc<LoopCore>, ticks: &Rc<Cell<u32>>) {
            let (next, count) = (Rc::downgrade(core), Rc::clone(ticks));
            let task = LocalTask::new(move || {
                count.set(count.get() + 1);
                if let Some(core) = next.upgrade() {
                    tick(&core, &count);
                }
            });
            core.add_timer(core.now() + 50 * US, task);
        }
        tick(core, &ticks);
        // One task keeps itself going all the time.
        fn busy(core: &Rc<LoopCore>) {
            let next = Rc::downgrade(core);
            core.push_local(LocalTask::new(move || {
                if let Some(core) = next.upgrade() {
                    busy(&core);
                }
            }));
        }
        busy(core);
        let message = [7; 1_000];
        for peer in &mut peers {
            peer.write_all(&message).expect("written");
        }
        drive(core, || {
            echoes.iter().all(|echo| echo.echoed.get() == message.len()) && ticks.get() >= 10
        });
        for peer in &mut peers {
            let mut back = [0; 1_000];
            peer.read_exact(&mut back).expect("echoed");
            assert_eq!(back, message);
        }
        let metrics = core.handle().metrics();
        assert_eq!(
            (metrics.premature_waits, metrics.ghost_events),
            (0, 0),
            "{metrics}"
        );
        assert!(metrics.time_in_io > Duration::ZERO && metrics.events >= 4);
    });
}

/// Rules: E12, 5.1.
#[test]
fn a_sleeping_loop_wakes_for_each_kind_of_work() {
    each_way(|core| {
        let (echo, mut peer) = Echo::new(core);
        for round in 1..=20 {
            let handle = core.handle().clone();
            let other = std::thread::spawn(move || {
                peer.write_all(b"x").expect("written");
                handle.execute(|| {}).expect("open");
                peer
            });
            let metrics = || core.handle().metrics();
            drive(core, || {
                echo.echoed.get() == round && metrics().tasks_run == round as u64
            });
            peer = other.join().expect("no panic");
        }
        let metrics = core.handle().metrics();
        assert!(metrics.wakes_sent <= 20, "{metrics}");
    });
}

/// Rules: A45.
#[test]
fn the_end_tells_channels_and_lets_go_of_them() {
    each_way(|core| {
        let (echo, _peer) = Echo::new(core);
        core.handle().stop();
        drive(core, || core.has_ended());
        assert!(echo.is_shut.get());
        assert_eq!(
            Rc::strong_count(&echo),
            1,
            "neither reactor nor loop holds it"
        );
        let metrics = core.handle().metrics();
        assert_eq!(metrics.channels, 0);
    });
}

/// Rules: E9, E10.
#[test]
fn a_loop_sleeps_when_there_is_nothing_to_do() {
    each_way(|core| {
        let (_echo, _peer) = Echo::new(core);
        // The edge of the registration, where there is one.
        turn(core, Duration::ZERO);
        let before = core.handle().metrics().turns;
        let due = Rc::new(Cell::new(Time::ZERO));
        let (fired, handle) = (Rc::clone(&due), core.handle().clone());
        let deadline = core.now() + 5 * MS;
        core.add_timer(
            deadline,
            LocalTask::new(move || {
                let core = LoopCore::current().expect("on its loop");
                assert_eq!(core.handle(), &handle);
                fired.set(core.now());
            }),
        );
        drive(core, || due.get() > Time::ZERO);
        assert!(due.get() >= deadline);
        let turns = core.handle().metrics().turns - before;
        assert!(turns <= 3, "{turns} turns for one timer");
    });
}

#[test]
fn requests_from_other_threads_reach_a_loop_on_its_way_to_sleep() {
    each_way(|core| {
        let (ask, asked) = mpsc::channel::<EventLoop>();
        let asker = std::thread::spawn(move || {
            for handle in asked {
                handle.stop();
            }
        });
        ask.send(core.handle().clone()).expect("somebody asks");
        drive(core, || core.has_ended());
        drop(ask);
        asker.join().expect("no panic");
    });
}
