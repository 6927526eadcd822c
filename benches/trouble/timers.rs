//! How late timers are. One loop that has nothing else to do, one timer at a time, set by the one before; the rival is a
//! thread that sleeps as long.

use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::{EventLoop, EventLoopGroup};

use crate::storm::Storm;
use crate::support::{Figures, micros, percentile, seconds};

const NAME: &str = "timed";

/// From one to five milliseconds, in odd steps.
fn delay(number: u64) -> Duration {
    Duration::from_micros(1_000 + number * 769 % 4_000)
}

/// Sets the timer of that number; it tells how late it was, or how early, and sets the next.
fn set(event_loop: &EventLoop, number: u64, ends: Instant, tell: Sender<(Duration, bool)>) {
    let delay = delay(number);
    let due = Instant::now() + delay;
    let next = event_loop.clone();
    drop(event_loop.schedule(delay, move || {
        let now = Instant::now();
        let _ = tell.send((now.saturating_duration_since(due), now < due));
        if now < ends {
            set(&next, number + 1, ends, tell);
        }
    }));
}

fn ours(time: Duration) -> (Vec<Duration>, u64) {
    let group = EventLoopGroup::builder()
        .threads(1)
        .name(NAME)
        .build()
        .expect("a loop");
    let (tell, told) = mpsc::channel();
    let (event_loop, ends) = (group.next(), Instant::now() + time);
    let first = event_loop.clone();
    event_loop
        .execute(move || set(&first, 0, ends, tell))
        .expect("it runs");
    let mut early = 0;
    let late = told.iter().map(|(late, is_early)| {
        early += u64::from(is_early);
        late
    });
    let late = late.collect();
    group.stop().sync().expect("it ends");
    (late, early)
}

fn a_sleeping_thread(time: Duration) -> Vec<Duration> {
    let sleeper = thread::Builder::new().name(NAME.into()).spawn(move || {
        let ends = Instant::now() + time;
        let mut late = Vec::new();
        for number in 0.. {
            let due = Instant::now() + delay(number);
            if due > ends {
                break;
            }
            thread::sleep(delay(number));
            late.push(Instant::now().saturating_duration_since(due));
        }
        late
    });
    sleeper.expect("a thread").join().expect("it sleeps")
}

pub fn run(figures: &mut Figures) {
    let time = Duration::from_secs(seconds().div_ceil(4));
    figures.case(
        "timers",
        &format!("{time:?} of one timer after another, in calm and in a storm"),
    );
    for weather in ["calm", "storm"] {
        let is_timed = |name: &str| name.starts_with(NAME);
        let storm = (weather == "storm").then(|| Storm::over(is_timed).expect("a storm"));
        let before = Storm::arrived();
        let (mut late, early) = ours(time);
        let signals = Storm::arrived() - before;
        let mut rival = a_sleeping_thread(time);
        drop(storm);
        figures.note(
            &format!("{weather}: timers, signals"),
            format!("{}, {signals}", late.len()),
        );
        figures.exactly(&format!("{weather}: early"), early, 0);
        for share in [0.5, 0.9] {
            let value = micros(percentile(&mut late, share));
            figures.note(
                &format!("{weather}: late, p{:.0}, µs", share * 100.0),
                format!("{value:.0}"),
            );
        }
        let sleeping = micros(percentile(&mut rival, 0.99));
        figures.note(
            &format!("{weather}: a sleeping thread, late, p99, µs"),
            format!("{sleeping:.0}"),
        );
        let p99 = micros(percentile(&mut late, 0.99));
        figures.at_most(&format!("{weather}: late, p99"), p99, 200.0, "µs");
    }
}
