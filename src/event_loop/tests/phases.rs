//! Order, fairness and catch boundaries of the phases of a turn.

use super::*;
use crate::event_loop::budget::IoRatio;

#[test]
fn tasks_run_in_order_and_new_ones_wait_for_the_next_pass() {
    let bench = Bench::new();
    let (core, log) = (Rc::clone(&bench.core), bench.log.clone());
    bench.push("a");
    bench.core.push_local(LocalTask::new(move || {
        core.push_local(LocalTask::new(move || log.note("later")));
    }));
    bench.push("b");
    assert_eq!(bench.core.run_tasks(), 3);
    assert_eq!(bench.log.take(), ["a", "b"]);
    assert_eq!(bench.core.run_tasks(), 1);
    assert_eq!(bench.log.take(), ["later"]);
    assert_eq!(bench.core.run_tasks(), 0);
}

/// Rules: E15, 5.7.
#[test]
fn timers_fire_by_deadline_and_never_early() {
    let bench = Bench::new();
    bench.timer("second", 20 * MS);
    bench.timer("first", 10 * MS);
    bench.timer("second too", 20 * MS);
    bench.clock.advance(10 * MS - Duration::from_nanos(1));
    bench.turn();
    assert_eq!(bench.log.take(), [""; 0]);
    bench.clock.advance(Duration::from_nanos(1));
    bench.turn();
    assert_eq!(bench.log.take(), ["first"]);
    bench.clock.advance(10 * MS);
    bench.turn();
    assert_eq!(bench.log.take(), ["second", "second too"]);
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn timers_are_moved_and_cancelled_by_key() {
    let bench = Bench::new();
    let moved = bench.timer("moved", MS);
    let cancelled = bench.timer("cancelled", MS);
    assert!(bench.core.move_timer(moved, bench.core.now() + 5 * MS));
    assert!(bench.core.cancel_timer(cancelled));
    assert!(!bench.core.cancel_timer(cancelled));
    bench.clock.advance(4 * MS);
    assert_eq!(bench.core.run_timers(), 0);
    bench.clock.advance(MS);
    assert_eq!(bench.core.run_timers(), 1);
    assert!(!bench.core.move_timer(moved, bench.core.now()));
    assert_eq!(bench.log.take(), ["moved"]);
}

#[test]
fn a_timer_that_sets_itself_due_at_once_does_not_hold_the_turn() {
    let bench = Bench::with(|config| config.io_ratio = IoRatio::new(100).expect("in range"));
    fn again(core: &Rc<LoopCore>, log: &Log) {
        log.note("fired");
        let (core2, log2) = (Rc::clone(core), log.clone());
        core.add_timer(core.now(), LocalTask::new(move || again(&core2, &log2)));
    }
    again(&bench.core, &bench.log);
    bench.log.take();
    bench.turn();
    assert_eq!(bench.log.take(), ["fired"]);
    bench.turn();
    assert_eq!(bench.log.take(), ["fired"]);
}

/// Rules: E7, F5, 5.8.
#[test]
fn a_panic_ends_what_panicked_and_nothing_else() {
    let bench = Bench::new();
    let broken = bench.probe("broken", |_, _| panic!("in a handle"));
    bench.core.push_ready(broken.clone());
    bench.core.push_root(broken);
    bench
        .core
        .push_listener(LocalTask::new(|| panic!("in a listener")));
    bench
        .core
        .push_local(LocalTask::new(|| panic!("in a task")));
    bench
        .core
        .add_timer(bench.core.now(), LocalTask::new(|| panic!("in a timer")));
    bench.push("alive");
    for _ in 0..3 {
        bench.turn();
    }
    assert_eq!(
        bench.log.take(),
        ["broken Continue", "broken Roots", "alive"]
    );
    assert_eq!(bench.handle().metrics().panics, 5);
}

/// Rules: 5.2.
#[test]
fn the_ready_list_is_served_once_per_turn_in_order() {
    let bench = Bench::new();
    let core = Rc::clone(&bench.core);
    let greedy = bench.probe("greedy", move |me, _| core.push_ready(me.clone()));
    let modest = bench.probe("modest", |_, _| {});
    bench.core.push_ready(greedy);
    bench.core.push_ready(modest);
    bench.turn();
    assert_eq!(bench.log.take(), ["greedy Continue", "modest Continue"]);
    bench.turn();
    assert_eq!(bench.log.take(), ["greedy Continue"]);
}

/// Rules: 5.2.
#[test]
fn a_handle_that_returns_to_the_roots_waits_for_the_next_pass() {
    let bench = Bench::new();
    let core = Rc::clone(&bench.core);
    let greedy = bench.probe("greedy", move |me, _| core.push_root(me.clone()));
    bench.core.push_root(greedy);
    assert_eq!(bench.core.run_roots(), 1);
    assert_eq!(bench.core.run_roots(), 1);
    assert_eq!(bench.log.take(), ["greedy Roots"; 2]);
}

#[test]
fn a_chain_of_listeners_ends_in_one_pass_and_an_endless_one_does_not_hold_it() {
    fn chain(core: &Rc<LoopCore>, log: &Log, left: u32) {
        let (core2, log2) = (Rc::clone(core), log.clone());
        core.push_listener(LocalTask::new(move || {
            log2.note(left.to_string());
            if left > 0 {
                chain(&core2, &log2, left - 1);
            }
        }));
    }
    let bench = Bench::new();
    chain(&bench.core, &bench.log, 5);
    assert_eq!(bench.core.run_roots(), 6);
    assert_eq!(bench.log.take(), ["5", "4", "3", "2", "1", "0"]);
    chain(&bench.core, &bench.log, u32::MAX);
    assert_eq!(bench.core.run_roots(), 65);
    assert_eq!(bench.core.run_roots(), 65);
}

#[test]
fn roots_left_by_tasks_run_in_the_same_turn() {
    let bench = Bench::new();
    let (core, root) = (Rc::clone(&bench.core), bench.probe("root", |_, _| {}));
    bench
        .core
        .push_local(LocalTask::new(move || core.push_root(root)));
    bench.turn();
    assert_eq!(bench.log.take(), ["root Roots"]);
}

/// With the clock moved by what runs, the shares come out to the microsecond.
///
/// Rules: E4, 5.3.
#[test]
fn tasks_get_the_share_that_io_leaves() {
    for (percent, tasks) in [(50, 5), (80, 2), (20, 20), (99, 1), (1, 100)] {
        let bench =
            Bench::with(|config| config.io_ratio = IoRatio::new(percent).expect("in range"));
        let clock = bench.clock.clone();
        let io = bench.probe("io", move |_, _| clock.advance(10 * US));
        for _ in 0..100 {
            bench.core.push_local(bench.task("task", 2 * US));
        }
        bench.core.push_ready(io);
        bench.turn();
        let share = 10 * (100 - usize::from(percent)) / usize::from(percent);
        let log = bench.log.take();
        assert_eq!(log[0], "io Continue");
        assert_eq!(
            log.len() - 1,
            tasks.min(100),
            "io_ratio {percent}, {share} µs"
        );
    }
}

/// A phase of I/O during which the machine did other things counts as long as it took; at a low ratio a task that keeps
/// itself going would then hold up the sockets for ninety-nine times as long.
///
/// Rules: E4, 5.3.
#[test]
fn sockets_do_not_wait_for_tasks_longer_than_a_tenth_of_a_second() {
    let bench = Bench::with(|config| config.io_ratio = IoRatio::new(1).expect("in range"));
    let clock = bench.clock.clone();
    let io = bench.probe("io", move |_, _| clock.advance(300 * MS));
    fn keep_busy(core: &Rc<LoopCore>, clock: &ManualClock) {
        let (next, time) = (Rc::clone(core), clock.clone());
        core.push_local(LocalTask::new(move || {
            time.advance(MS);
            keep_busy(&next, &time);
        }));
    }
    keep_busy(&bench.core, &bench.clock);
    bench.core.push_ready(io);
    bench.turn();
    assert_eq!(bench.handle().metrics().time_in_tasks, 100 * MS);
}

/// Tasks too cheap to be timed one by one keep to the share all the same.
/// Rules: 5.3.
#[test]
fn cheap_tasks_keep_to_their_share() {
    let bench = Bench::new();
    let clock = bench.clock.clone();
    let io = bench.probe("io", move |_, _| clock.advance(10 * US));
    fn keep_busy(core: &Rc<LoopCore>, clock: &ManualClock) {
        let (next, time) = (Rc::clone(core), clock.clone());
        core.push_local(LocalTask::new(move || {
            time.advance(Duration::from_nanos(900));
            keep_busy(&next, &time);
        }));
    }
    keep_busy(&bench.core, &bench.clock);
    for _ in 0..1_000 {
        bench.core.push_ready(io.clone());
        bench.turn();
    }
    let metrics = bench.handle().metrics();
    assert_eq!(metrics.time_in_io, 10_000 * US);
    let off = metrics.time_in_tasks.abs_diff(metrics.time_in_io);
    assert!(off < 100 * US, "{metrics}");
}

/// Rules: E5, 5.3.
#[test]
fn an_overdraft_is_paid_back_with_one_task_a_turn() {
    let bench = Bench::new();
    let clock = bench.clock.clone();
    let io = bench.probe("io", move |_, _| clock.advance(10 * US));
    bench.core.push_local(bench.task("long", 35 * US));
    for _ in 0..20 {
        bench.core.push_local(bench.task("task", 2 * US));
    }
    // Allowed 10, spent 35: 25 in debt. Each turn brings 10, and its one task takes 2.
    let mut per_turn = Vec::new();
    for _ in 0..6 {
        bench.core.push_ready(io.clone());
        bench.turn();
        per_turn.push(bench.log.take().len() - 1);
    }
    assert_eq!(per_turn, [1, 1, 1, 1, 5, 5]);
}

/// Rules: E4, E5, 5.3.
#[test]
fn without_io_tasks_let_the_loop_look_for_some() {
    let bench = Bench::new();
    for _ in 0..200 {
        bench.push("cheap");
    }
    bench.turn();
    assert_eq!(bench.log.take().len(), 64);
    let bench = Bench::new();
    for _ in 0..200 {
        bench.core.push_local(bench.task("dear", 10 * US));
    }
    bench.turn();
    assert_eq!(bench.log.take().len(), 7, "64 µs and what was begun");
}

/// Rules: E4, E6, 5.3.
#[test]
fn at_a_ratio_of_100_the_tasks_of_the_phase_s_start_run() {
    let bench = Bench::with(|config| config.io_ratio = IoRatio::new(100).expect("in range"));
    let (core, log) = (Rc::clone(&bench.core), bench.log.clone());
    bench.core.push_local(LocalTask::new(move || {
        core.push_local(LocalTask::new(move || log.note("next turn")));
    }));
    for _ in 0..300 {
        bench.core.push_local(bench.task("task", MS));
    }
    bench.turn();
    assert_eq!(bench.log.take(), vec!["task"; 300]);
    bench.turn();
    assert_eq!(bench.log.take(), ["next turn"]);
}

#[test]
fn no_source_of_tasks_starves_another_even_with_one_task_a_turn() {
    let bench = Bench::new();
    let clock = bench.clock.clone();
    let io = bench.probe("io", move |_, _| clock.advance(Duration::from_nanos(1)));
    for _ in 0..100 {
        bench.core.push_local(bench.task("local", MS));
        bench
            .core
            .add_timer(bench.core.now(), bench.task("timer", MS));
        bench.handle().execute(|| {}).expect("open");
    }
    for _ in 0..60 {
        bench.core.push_ready(io.clone());
        bench.turn();
    }
    let log = bench.log.take();
    let count = |name: &str| log.iter().filter(|entry| *entry == name).count();
    let metrics = bench.handle().metrics();
    let remote = metrics.tasks_run as usize - count("local");
    assert!(count("local") >= 10, "{} local", count("local"));
    assert!(count("timer") >= 10, "{} timers", count("timer"));
    assert!(remote >= 10, "{remote} remote");
}

#[test]
fn acceptors_that_wait_for_a_descriptor_hear_of_one_on_another_loop() {
    let (one, two) = (Bench::new(), Bench::new());
    let acceptor = one.probe("acceptor", |_, _| {});
    one.core.wait_for_fd(acceptor);
    two.core.fd_closed();
    for _ in 0..2 {
        one.turn();
    }
    assert_eq!(one.log.take(), ["acceptor Continue"]);
    two.core.fd_closed();
    one.turn();
    assert_eq!(one.log.take(), [""; 0]);
}

#[test]
fn what_is_attached_is_counted() {
    let bench = Bench::new();
    let key = bench.core.attach(bench.probe("channel", |_, _| {}));
    assert!(bench.core.attached(key).is_some());
    assert_eq!(bench.handle().metrics().channels, 1);
    bench.core.detach(key);
    assert!(bench.core.attached(key).is_none());
    assert_eq!(bench.handle().metrics().channels, 0);
}
