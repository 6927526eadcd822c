//! A channel on a real loop: another thread's writes, a bounded queue, the loop's end.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::channel::ENTRY_OVERHEAD;
use crate::event_loop::LocalEventLoop;

/// A scripted channel on `lp`.
fn open_local(lp: &LocalEventLoop, script: Script) -> (Channel, Rc<Script>, Log) {
    let (script, log) = (Rc::new(script), Log::default());
    let channel = lp.block_on(async {
        let core = LoopCore::current().expect("inside of a turn");
        open_on(&core, Box::new(Scripted(script.clone())), &log).1
    });
    lp.turn(Some(Duration::ZERO));
    (channel.expect("the loop runs"), script, log)
}

/// Turns until `done`.
fn turn_until(lp: &LocalEventLoop, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "it never came");
        lp.turn(Some(Duration::from_millis(10)));
    }
}

/// Rules: B24, C3
///
/// The writing thread sets the watermark's bit while the loop may have sent everything already.
#[test]
fn a_thread_that_waits_for_writability_always_gets_it() {
    const ROUNDS: usize = 2_000;
    let lp = LocalEventLoop::new().expect("a loop");
    let (channel, script, log) = open_local(&lp, Script::new());
    let writer = thread::spawn({
        let channel = channel.clone();
        move || {
            for round in 0..ROUNDS {
                channel.write_and_flush(vec![0; 70_000]);
                let begun = Instant::now();
                while !channel.is_writable() {
                    assert!(begun.elapsed() < DEADLINE, "stuck in round {round}");
                    thread::yield_now();
                }
            }
        }
    });
    turn_until(&lp, || {
        script.taken.borrow_mut().clear();
        writer.is_finished()
    });
    writer.join().expect("no round was stuck");
    turn_until(&lp, || channel.bytes_before_unwritable() == 64 * 1024 + 1);
    let told: Vec<String> = log
        .take()
        .into_iter()
        .filter(|what| what.ends_with("writable"))
        .collect();
    assert_eq!(told.last().map(String::as_str), Some("writable"));
}

/// Rules: B24
#[test]
fn a_write_alone_does_not_wake_the_loop_and_a_flush_does() {
    let lp = LocalEventLoop::new().expect("a loop");
    let (channel, script, _) = open_local(&lp, Script::new());
    let write = thread::spawn({
        let channel = channel.clone();
        move || channel.write_future("x")
    })
    .join()
    .expect("a write never blocks");
    assert_eq!(
        channel.bytes_before_unwritable(),
        64 * 1024 + 1 - 1 - ENTRY_OVERHEAD
    );
    let flusher = thread::spawn(move || channel.flush());
    turn_until(&lp, || write.is_done());
    flusher.join().expect("nor does a flush");
    assert!(write.is_success());
    assert_eq!(script.taken.borrow().len(), 1);
}

/// No flush will follow, so the write itself wakes the loop: nobody waits for an answer until something else happens.
///
/// Rules: B24
#[test]
fn a_write_to_a_closed_channel_wakes_the_loop() {
    let lp = LocalEventLoop::new().expect("a loop");
    let (channel, _, _) = open_local(&lp, Script::new());
    lp.block_on(channel.close())
        .expect("a turn")
        .expect("closed");
    turn_until(&lp, || !channel.is_registered());
    let writer = thread::spawn(move || channel.write_future("late"));
    let begun = Instant::now();
    lp.turn(Some(DEADLINE));
    assert!(begun.elapsed() < DEADLINE, "woken");
    let write = writer.join().expect("a write never blocks");
    turn_until(&lp, || write.is_done());
    assert_eq!(kind(&write), ErrorKind::ChannelClosed);
}

/// Rules: B24, E19
#[test]
fn operations_that_a_full_queue_refuses_say_so_and_give_their_bytes_back() {
    let lp = LocalEventLoop::builder()
        .max_pending_tasks(16)
        .build()
        .expect("a loop");
    let (channel, _, log) = open_local(&lp, Script::new());
    let before = channel.bytes_before_unwritable();
    let filled = channel.clone();
    let refused = thread::spawn(move || {
        let channel = filled;
        while channel.event_loop().execute(|| {}).is_ok() {}
        let futures = [
            channel.write_future(vec![0; 100_000]),
            channel.write_and_flush(vec![0; 100_000]),
            channel.close(),
            channel.shutdown_output(),
        ];
        (futures, channel.edit(|_| ()))
    })
    .join()
    .expect("a refusal does not panic");
    for future in &refused.0 {
        assert_eq!(kind(future), ErrorKind::Rejected);
    }
    assert_eq!(
        refused.1.cause().map(|error| error.kind()),
        Some(ErrorKind::Rejected)
    );
    turn_until(&lp, || lp.handle().metrics().tasks_waiting == 0);
    assert!(channel.is_writable());
    assert_eq!(channel.bytes_before_unwritable(), before);
    assert!(channel.is_active());
    log.take();
    thread::spawn({
        let channel = channel.clone();
        move || channel.close()
    })
    .join()
    .expect("the queue has room again");
    turn_until(&lp, || !channel.is_registered());
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}

/// As a story: the flush of another thread that fed a loop faster than it worked was dropped without a word, and what it had
/// written before stayed.
///
/// Rules: B24
#[test]
fn what_has_no_answer_is_done_in_order_though_the_queue_is_full() {
    let lp = LocalEventLoop::builder()
        .max_pending_tasks(16)
        .build()
        .expect("a loop");
    let (channel, script, log) = open_local(&lp, Script::new());
    log.take();
    let (filled, told) = (channel.clone(), log.clone());
    thread::spawn(move || {
        let channel = filled;
        channel.write(b"waits".as_slice());
        let tasks = std::iter::from_fn(|| channel.event_loop().execute(|| {}).ok()).count();
        assert_eq!(tasks, 15);
        channel.flush();
        channel.set_auto_read(false);
        channel.fire_channel_read(b"m".as_slice());
        channel.fire_user_event_triggered(Message::new(7_u8));
        channel
            .set_user_writability(1, false)
            .expect("there is such a bit");
        channel.set_user_writability(1, true).expect("as above");
        channel.read();
        channel.fire_exception_caught(reset());
        told.add("asked");
    })
    .join()
    .expect("nothing is refused");
    turn_until(&lp, || lp.handle().metrics().tasks_waiting == 0);
    assert_eq!(script.taken.borrow().len(), 1, "flushed");
    assert!(!channel.is_auto_read());
    assert_eq!(
        log.take(),
        [
            "asked",
            "read m",
            "event u8",
            "unwritable",
            "writable",
            "error connection reset",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
    let refused = lp.handle().metrics().rejected;
    assert_eq!(refused, 1, "the task that found it full");
}

/// Rules: A45
#[test]
fn a_loop_that_ends_closes_its_channels_first() {
    let lp = LocalEventLoop::new().expect("a loop");
    let (channel, _, log) = open_local(&lp, Script::new());
    log.take();
    log.watch("closed", &channel.close_future());
    lp.handle().shutdown_gracefully(Duration::ZERO, DEADLINE);
    lp.run();
    assert_eq!(
        log.take(),
        ["closed", "inactive", "unregistered", "removed"]
    );
    let late = channel.close();
    assert!(late.is_success(), "{late:?}");
    assert_eq!(kind(&channel.write_future("x")), ErrorKind::ChannelClosed);
}

/// Rules: A45, F6
#[test]
fn a_loop_that_ends_before_a_transport_has_closed_leaves_nobody_waiting() {
    let lp = LocalEventLoop::new().expect("a loop");
    let script = Script::new();
    script.blocked.set(true);
    *script.close.borrow_mut() = Ok(Progress::Pending);
    let (channel, _, log) = open_local(&lp, script);
    log.take();
    let (ends, ended) = mpsc::channel();
    let waiter = thread::spawn({
        let channel = channel.clone();
        move || {
            let write = channel.write_and_flush("x");
            let closed = channel.close_future();
            let close = channel.close();
            ends.send(()).expect("the test waits");
            (
                write.sync_timeout(DEADLINE).map(drop),
                closed.sync_timeout(DEADLINE).map(drop),
                close.sync_timeout(DEADLINE).map(drop),
            )
        }
    });
    ended.recv_timeout(DEADLINE).expect("the waiter has begun");
    lp.turn(Some(Duration::ZERO));
    lp.handle()
        .shutdown_gracefully(Duration::ZERO, Duration::from_millis(1));
    lp.run();
    let (write, closed, close) = waiter.join().expect("the waiter ends");
    assert_eq!(
        write.expect_err("it was not sent").kind(),
        ErrorKind::ChannelClosed
    );
    assert!(closed.is_ok(), "{closed:?}");
    assert_eq!(
        close.expect_err("nobody knows").kind(),
        ErrorKind::Terminated
    );
    assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
}
