//! What programs do with a channel, from inside of its loop or from outside.

use std::time::Duration;

use bytes::BytesMut;
use tidegate::Channel;
use tidegate::channel::options::SO_LINGER;
use tidegate_sys::os::{Time, clock, sim};

use crate::handlers::{Collect, OneByOne, Pass, Records, Split};
use crate::model::{follow, with};

/// A wait begins when the system call has taken its own time (0.3 µs), so much later than its timeout was reckoned.
const CALL: Duration = Duration::from_micros(1);

/// On the loop of the channel, or not: the channel does not mind.
pub fn act(end: usize, channel: &Channel, lot: u64, size: usize) {
    let may_write = with(|model| !model.ends[end].is_output_shut);
    match lot {
        0..=34 if may_write => {
            follow(end, &channel.write_future(BytesMut::zeroed(size)), size);
        }
        35..=54 => channel.flush(),
        55..=69 if may_write => {
            follow(end, &channel.write_and_flush(BytesMut::zeroed(size)), size);
        }
        70..=75 => {
            channel.set_auto_read(lot.is_multiple_of(2));
            // From outside it counts when its turn comes: a read() that is on its way already is overruled.
            let forget = move || with(|model| model.ends[end].asks = false);
            forget();
            let _ = channel.event_loop().execute(forget);
        }
        76..=79 => {
            with(|model| model.ends[end].asks = true);
            channel.read();
        }
        80..=88 => edit(end, channel, lot),
        89..=92 => timer(channel, size as u64),
        93 => {
            with(|model| model.ends[end].is_output_shut = true);
            drop(channel.shutdown_output());
        }
        94 => {
            with(|model| {
                model.ends[end].is_input_shut = true;
                model.ends[end].has_shut_input = true;
            });
            drop(channel.shutdown_input());
        }
        95..=96 => {
            with(|model| model.ends[end].is_closing = true);
            drop(channel.close());
        }
        97 => {
            with(|model| model.ends[end].is_closing = true);
            drop(channel.set_option(SO_LINGER, Some(Duration::ZERO)));
            drop(channel.close());
        }
        98..=99 => promise(end, channel),
        _ => {}
    }
}

/// A promise of the channel's loop that is kept by another loop: its listener runs where the channel lives.
pub fn promise(end: usize, channel: &Channel) {
    let lot = with(|model| model.random.below(model.ends.len() as u64)) as usize;
    let elsewhere = with(|model| model.ends[lot].channel.event_loop().clone());
    let promise = channel.new_promise();
    let event_loop = channel.event_loop().clone();
    promise.completion().add_listener(move |_| {
        with(|model| {
            model.note(end, 67);
            model.tasks_run += 1;
            if !event_loop.in_event_loop() {
                model.complain(format!("end {end}: a listener runs on another loop"));
            }
        });
    });
    let given = elsewhere.execute(move || {
        promise.try_success();
    });
    with(|model| model.tasks_given += u64::from(given.is_ok()));
}

/// Changes the pipeline between its two ends.
fn edit(end: usize, channel: &Channel, lot: u64) {
    let choice = lot % 4;
    let one_by_one = move || {
        with(|model| model.ends[end].is_lazy = true);
        OneByOne::default()
    };
    let records = move || {
        with(|model| model.ends[end].had_decoder = true);
        Records
    };
    drop(channel.edit(move |pipeline| {
        if pipeline.contains("middle") {
            let _ = match choice {
                0 => pipeline.remove("middle"),
                1 => pipeline.replace("middle", Some("middle"), one_by_one()),
                2 => pipeline.replace("middle", Some("middle"), records()),
                _ => pipeline.replace("middle", Some("middle"), Split),
            };
            return;
        }
        let _ = match lot % 5 {
            0 => pipeline.add_after("guard", Some("middle"), one_by_one()),
            4 => pipeline.add_after("guard", Some("middle"), records()),
            1 => pipeline.add_after("guard", Some("middle"), Split),
            2 => pipeline.add_before("app", Some("middle"), Collect::default()),
            _ => pipeline.add_before("app", Some("middle"), Pass),
        };
    }));
}

/// A timer of the channel's loop, which must not come before its time.
fn timer(channel: &Channel, micros: u64) {
    let timer = with(|model| {
        model.timers.push((0, Time::MAX));
        model.timers.len() - 1
    });
    let delay = Duration::from_micros(micros * 10);
    let due = clock::now() + delay;
    let scheduled = channel.event_loop().schedule(delay, move || {
        let now = clock::now();
        with(|model| {
            model.progress += 1;
            let (fired, latest) = model.timers[timer];
            model.timers[timer].0 = fired + 1;
            if now < due {
                model.complain(format!("timer {timer} was early: {now:?} before {due:?}"));
            }
            // Late because of work and of a processor that is not given, but nobody may have waited.
            let latest = latest + CALL;
            let waited = Time::from_nanos(sim::waited_until().unwrap_or(0));
            if waited > latest {
                model.complain(format!(
                    "timer {timer} was due at {latest:?} at the latest, and somebody slept until {waited:?}"
                ));
            }
        });
    });
    let latest = clock::now() + delay;
    with(|model| model.timers[timer].1 = latest);
    drop(scheduled);
}
