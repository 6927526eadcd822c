//! How a loop ends, to the nanosecond.

use super::*;
use crate::error::ErrorKind;

fn closing_bench() -> Bench {
    let bench = Bench::new();
    let channel = bench.probe("channel", |_, _| {});
    bench.core.attach(channel);
    bench
}

/// A handle that detaches itself when it is told to close.
fn polite(bench: &Bench) {
    let key = Rc::new(Cell::new(0));
    let (core, known) = (Rc::downgrade(&bench.core), Rc::clone(&key));
    let channel = bench.probe("polite", move |_, event| {
        if event == IoEvent::Shutdown
            && let Some(core) = core.upgrade()
        {
            core.detach(known.get());
        }
    });
    key.set(bench.core.attach(channel));
}

/// Rules: E18, E21.
#[test]
fn it_ends_when_no_task_ran_for_the_quiet_period() {
    let bench = Bench::new();
    polite(&bench);
    let ended = bench.handle().shutdown_gracefully(2 * SECOND, 15 * SECOND);
    bench.turn();
    assert_eq!(bench.log.take(), ["polite Shutdown"]);
    assert!(bench.handle().is_shutting_down() && !bench.handle().is_shutdown());
    bench.clock.advance(SECOND);
    bench
        .handle()
        .execute(|| {})
        .expect("tasks are still accepted");
    bench.turn();
    assert_eq!(
        bench.core.next_deadline(),
        Some(bench.clock.now() + 2 * SECOND)
    );
    bench.clock.advance(2 * SECOND - Duration::from_nanos(1));
    bench.turn();
    assert!(!bench.core.has_ended(), "the task began the period anew");
    bench.clock.advance(Duration::from_nanos(1));
    bench.turn();
    assert!(bench.core.has_ended() && bench.handle().is_shutdown());
    let refused = bench.handle().execute(|| {}).expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::Terminated);
    assert!(!ended.is_done(), "who drives the loop says when it is gone");
}

/// Rules: E21.
#[test]
fn the_timeout_ends_it_in_any_case() {
    let bench = closing_bench();
    bench.handle().shutdown_gracefully(SECOND, 3 * SECOND);
    bench.turn();
    for _ in 0..3 {
        assert!(!bench.core.has_ended());
        bench.clock.advance(SECOND);
        bench.push("busy");
        bench.turn();
    }
    assert!(bench.core.has_ended());
    assert_eq!(bench.core.attached_len(), 0);
}

/// Whoever asks may hold the loop for long, or somebody else may while the request is on its way.
///
/// Rules: E21.
#[test]
fn the_timeout_counts_from_the_call() {
    let bench = closing_bench();
    {
        let _turn = bench.core.enter();
        bench.handle().shutdown_gracefully(SECOND, 3 * SECOND);
        bench.clock.advance(2 * SECOND);
    }
    bench.push("waits");
    bench.turn();
    assert!(!bench.core.has_ended());
    assert_eq!(
        bench.core.next_deadline(),
        Some(bench.clock.now() + SECOND),
        "of the timeout, which is as near as the quiet period's"
    );
    bench.clock.advance(SECOND - Duration::from_nanos(1));
    bench.push("busy");
    bench.turn();
    assert!(!bench.core.has_ended());
    bench.clock.advance(Duration::from_nanos(1));
    bench.turn();
    assert!(bench.core.has_ended());
}

#[test]
fn a_channel_that_takes_its_time_is_waited_for_until_the_timeout() {
    let bench = closing_bench();
    bench.handle().shutdown_gracefully(SECOND, 5 * SECOND);
    bench.turn();
    bench.clock.advance(2 * SECOND);
    bench.turn();
    assert!(!bench.core.has_ended());
    assert_eq!(
        bench.core.next_deadline(),
        Some(bench.clock.now() + 3 * SECOND)
    );
    bench.core.detach(0);
    bench.turn();
    assert!(bench.core.has_ended());
}

/// Rules: A45.
#[test]
fn each_channel_hears_of_it_once_and_late_ones_too() {
    let bench = closing_bench();
    bench.handle().shutdown_gracefully(SECOND, 2 * SECOND);
    bench.turn();
    bench.turn();
    assert_eq!(bench.log.take(), ["channel Shutdown"]);
    let late = bench.probe("late", |_, _| {});
    bench.core.attach(late);
    assert!(bench.core.must_not_sleep());
    bench.turn();
    assert_eq!(bench.log.take(), ["late Shutdown"]);
    assert!(!bench.core.must_not_sleep());
}

/// Rules: E20.
#[test]
fn the_first_request_counts_and_stop_cuts_it_short() {
    let bench = closing_bench();
    bench.handle().shutdown_gracefully(2 * SECOND, 15 * SECOND);
    bench
        .handle()
        .shutdown_gracefully(Duration::ZERO, Duration::ZERO);
    bench.turn();
    bench.turn();
    assert!(!bench.core.has_ended());
    bench.handle().stop();
    assert!(bench.core.must_not_sleep());
    bench.turn();
    assert!(bench.core.has_ended());
}

/// Rules: E21.
#[test]
fn without_a_quiet_period_what_waits_still_runs_once() {
    let bench = Bench::new();
    polite(&bench);
    for _ in 0..100 {
        bench.push("waiting");
    }
    let (core, log) = (Rc::clone(&bench.core), bench.log.clone());
    fn for_ever(core: Rc<LoopCore>, log: Log) {
        log.note("for ever");
        let again = Rc::clone(&core);
        core.push_local(LocalTask::new(move || for_ever(again, log)));
    }
    bench
        .core
        .push_local(LocalTask::new(move || for_ever(core, log)));
    bench.handle().shutdown_gracefully(Duration::ZERO, SECOND);
    bench.turn();
    assert!(bench.core.has_ended());
    let log = bench.log.take();
    assert_eq!(log.iter().filter(|entry| *entry == "waiting").count(), 100);
    assert!(log.iter().any(|entry| entry == "polite Shutdown"));
}

/// Rules: E16, E21.
#[test]
fn scheduled_tasks_are_dropped_at_once_and_timers_of_channels_go_on() {
    let bench = closing_bench();
    let scheduled = bench.handle().schedule(SECOND, || ());
    let periodic = bench.handle().schedule_at_fixed_rate(SECOND, SECOND, || ());
    bench.turn();
    bench.timer("close timeout", 2 * SECOND);
    bench.handle().shutdown_gracefully(SECOND, 5 * SECOND);
    bench.turn();
    for future in [scheduled.completion(), periodic.completion()] {
        assert_eq!(
            future.cause().map(|error| error.kind()),
            Some(ErrorKind::Terminated)
        );
    }
    bench.clock.advance(2 * SECOND);
    bench.turn();
    assert_eq!(bench.log.take(), ["channel Shutdown", "close timeout"]);
    let late = bench.handle().schedule(SECOND, || ());
    bench.turn();
    assert_eq!(
        late.cause().map(|error| error.kind()),
        Some(ErrorKind::Terminated)
    );
}

/// A task that queues itself again so often: more often than the end makes rounds.
fn again(core: &Rc<LoopCore>, left: u32, note: DropNote) {
    let next = Rc::clone(core);
    core.push_local(LocalTask::new(move || match left {
        0 => drop(note),
        _ => again(&next, left - 1, note),
    }));
}

/// Rules: E22.
#[test]
fn what_is_left_is_dropped_and_its_promises_say_so() {
    let bench = closing_bench();
    let drops = Drops::default();
    let note = drops.note();
    bench.core.add_timer(
        bench.core.now() + SECOND,
        LocalTask::new(move || drop(note)),
    );
    let never = bench.handle().spawn_local(std::future::pending::<()>);
    bench.turn();
    again(&bench.core, 1_000, drops.note());
    bench.handle().stop();
    bench.turn();
    assert!(bench.core.has_ended());
    assert_eq!(drops.count(), 2);
    assert_eq!(
        never.cause().map(|error| error.kind()),
        Some(ErrorKind::Terminated)
    );
    assert_eq!((bench.core.local_len(), bench.core.attached_len()), (0, 0));
}

#[test]
fn a_listener_of_a_promise_that_fails_at_the_end_still_runs() {
    let bench = closing_bench();
    let waiting = bench.handle().schedule(SECOND, || ());
    bench.turn();
    let (sender, receiver) = std::sync::mpsc::channel();
    waiting.add_listener(move |result| {
        let kind = result.as_ref().map_err(|error| error.kind()).copied();
        sender.send(kind).expect("the test listens");
    });
    bench.handle().stop();
    bench.turn();
    assert!(bench.core.has_ended());
    assert_eq!(receiver.try_recv(), Ok(Err(ErrorKind::Terminated)));
}

/// Its loop sees that nobody has the group any more.
fn drop_group(bench: &Bench) {
    let closing = super::super::shared::Closing {
        quiet: 2 * SECOND,
        timeout: 15 * SECOND,
        asked: None,
        spares_channels: true,
    };
    bench.handle().request_closing(closing, false);
    bench.turn();
}

#[test]
fn a_dropped_group_spares_channels_for_the_quiet_period() {
    let bench = Bench::new();
    polite(&bench);
    drop_group(&bench);
    bench.clock.advance(SECOND);
    bench.push("work");
    bench.turn();
    assert_eq!(bench.log.take(), ["work"]);
    bench.clock.advance(2 * SECOND);
    bench.turn();
    assert_eq!(bench.log.take(), ["polite Shutdown"]);
    bench.turn();
    assert!(bench.core.has_ended());
}

/// As after a request: what was given before the end runs before channels hear of it.
///
/// Rules: E21, A45
#[test]
fn a_loop_that_is_dropped_runs_its_tasks_before_its_channels_close() {
    let bench = Bench::new();
    polite(&bench);
    bench.push("work");
    bench.core.end_now();
    assert_eq!(bench.log.take(), ["work", "polite Shutdown"]);
    assert!(bench.core.has_ended());
}

/// Rules: E21, A45
#[test]
fn a_stop_while_channels_are_spared_runs_tasks_before_they_close() {
    let bench = Bench::new();
    polite(&bench);
    drop_group(&bench);
    bench.clock.advance(SECOND);
    bench.handle().stop();
    bench.push("work");
    bench.core.closing_phase();
    assert_eq!(bench.log.take(), ["work", "polite Shutdown"]);
    assert!(bench.core.has_ended());
}
