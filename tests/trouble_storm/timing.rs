//! Time in a storm: an interrupted wait goes on with what is left of it, no more and no less.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::probe::DEADLINE;
use crate::storm::Storm;
use crate::ways::each_way;

/// A wait that began anew after each interruption would never end; one that gave up early would be a timer that is early.
///
/// Rules: 5.7, 4.8
#[test]
fn timers_are_neither_early_nor_starved() {
    let begun = Instant::now();
    // Where the storm gets little of the processors it takes longer.
    while Storm::arrived() <= 100 {
        assert!(begun.elapsed() < DEADLINE, "{} signals", Storm::arrived());
        timers_fire();
    }
}

/// Timers on loops that are built every way.
fn timers_fire() {
    each_way(|way| {
        let group = way.group(1);
        let (tell, told) = mpsc::channel();
        for delay in [1, 3, 10, 30, 70].map(Duration::from_millis) {
            let tell = tell.clone();
            let begun = Instant::now();
            let fired = group.next().schedule(delay, move || {
                let _ = tell.send((delay, begun.elapsed()));
            });
            drop(fired);
        }
        drop(tell);
        let mut count = 0;
        while count < 5 {
            let (delay, took) = told.recv_timeout(DEADLINE).expect("a timer fires");
            assert!(took >= delay, "{delay:?} came after {took:?}");
            count += 1;
        }
        group.stop();
        assert!(group.await_termination(DEADLINE).unwrap());
    });
}

/// Tasks of other threads find the loop, whatever its sleep was broken by.
///
/// Rules: 4.9, 5.1
#[test]
fn no_task_is_left_behind() {
    each_way(|way| {
        let group = way.group(2);
        for number in 0..500 {
            let done = group.next().submit(move || number);
            assert_eq!(done.sync_timeout(DEADLINE).unwrap(), number);
        }
        group.stop();
        assert!(group.await_termination(DEADLINE).unwrap());
    });
}
