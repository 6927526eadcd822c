//! Operations from other threads: they travel as tasks, are accounted when they are given, and are never lost in
//! silence.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tidegate::channel::options::AUTO_READ;
use tidegate::channel::{ENTRY_OVERHEAD, WaterMark, options::WRITE_BUFFER_WATER_MARK};
use tidegate::{Channel, ErrorKind};

use crate::support::{DEADLINE, Log, kind, option, recorded, recorded_with, sent};

/// Runs `work` on a thread of its own, to its end.
fn elsewhere<R: Send + 'static>(
    channel: &Channel,
    work: impl FnOnce(&Channel) -> R + Send + 'static,
) -> R {
    let channel = channel.clone();
    thread::spawn(move || work(&channel)).join().unwrap()
}

/// Rules: B24
#[test]
fn the_bytes_of_a_foreign_write_count_when_it_is_given() {
    let (mut embedded, log) = recorded();
    let channel = embedded.channel().clone();
    let before = channel.bytes_before_unwritable();
    elsewhere(&channel, |channel| channel.write(vec![0; 1000]));
    assert_eq!(
        before - channel.bytes_before_unwritable(),
        1000 + ENTRY_OVERHEAD
    );
    embedded.run_pending();
    assert_eq!(
        before - channel.bytes_before_unwritable(),
        1000 + ENTRY_OVERHEAD,
        "once"
    );
    elsewhere(&channel, |channel| channel.flush());
    embedded.run_pending();
    assert_eq!(channel.bytes_before_unwritable(), before);
    assert_eq!(log.take(), [""; 0]);
}

/// Rules: B24, C3
#[test]
fn a_foreign_write_above_the_mark_is_seen_at_once() {
    let marks = option(WRITE_BUFFER_WATER_MARK, WaterMark::new(400, 1000).unwrap());
    let (mut embedded, log) = recorded_with(&marks);
    embedded.block_writes(true);
    let channel = embedded.channel().clone();
    elsewhere(&channel, |channel| {
        channel.write(vec![0; 904]);
        assert!(channel.is_writable(), "1000 is not above 1000");
        channel.write(vec![0; 0]);
        assert!(!channel.is_writable());
        assert_eq!(channel.bytes_before_writable(), 1096 - 400 + 1);
    });
    assert_eq!(log.take(), [""; 0], "the event is for the loop to fire");
    embedded.run_pending();
    assert_eq!(log.take(), ["unwritable"]);
    embedded.run(Channel::flush);
    embedded.block_writes(false);
    assert_eq!(log.take(), ["writable"]);
}

/// Rules: B24, 6.4
///
/// The bit is set by one thread and cleared by another: it must not stay over an empty buffer.
#[test]
fn a_foreign_write_that_is_sent_at_once_leaves_the_channel_writable() {
    let (mut embedded, log) = recorded();
    let channel = embedded.channel().clone();
    let future = elsewhere(&channel, |channel| {
        channel.write_and_flush(vec![0; 100_000])
    });
    assert!(!channel.is_writable());
    embedded.run_pending();
    assert!(future.is_success());
    assert!(channel.is_writable());
    assert_eq!(log.take().last().map(String::as_str), Some("writable"));
}

/// Rules: B24
#[test]
fn foreign_operations_keep_the_order_of_their_thread() {
    let (mut embedded, log) = recorded();
    let channel = embedded.channel().clone();
    let watched = log.clone();
    elsewhere(&channel, move |channel| {
        watched.watch("1", &channel.write_future("1"));
        watched.watch("2", &channel.write_and_flush("2"));
        watched.watch("3", &channel.write_and_flush("3"));
        watched.watch("close", &channel.close());
        watched.watch("4", &channel.write_and_flush("4"));
    });
    embedded.run_pending();
    assert_eq!(
        log.take(),
        [
            "1",
            "2",
            "3",
            "close",
            "inactive",
            "unregistered",
            "removed",
            "4: channel closed"
        ]
    );
    assert_eq!(sent(&mut embedded), ["1", "2", "3"]);
}

/// Rules: B23
#[test]
fn a_foreign_write_can_be_cancelled_before_its_flush() {
    let (mut embedded, _) = recorded();
    let channel = embedded.channel().clone();
    let future = elsewhere(&channel, |channel| channel.write_future("never"));
    assert!(future.cancel());
    embedded.run_pending();
    embedded.run(Channel::flush);
    assert!(future.is_cancelled());
    assert_eq!(sent(&mut embedded), [""; 0]);
    assert_eq!(
        channel.bytes_before_unwritable(),
        64 * 1024 + 1,
        "its bytes are given back"
    );
}

/// Rules: E18, A29
///
/// A task that is dropped must not take its promise along in silence. These were given before the end, and so they run before
/// the channel closes, in their order.
#[test]
fn foreign_operations_on_a_loop_that_is_gone_say_so() {
    let (embedded, log) = recorded();
    let channel = embedded.channel().clone();
    let on_the_way = elsewhere(&channel, |channel| {
        [channel.write_future("x"), channel.shutdown_output()]
    });
    drop(embedded);
    for future in &on_the_way {
        assert!(future.is_done(), "{future:?}");
    }
    assert_eq!(kind(&on_the_way[0]), ErrorKind::OutputShutdown);
    assert!(on_the_way[1].is_success());
    assert_eq!(kind(&channel.write_future("y")), ErrorKind::ChannelClosed);
    assert!(log.take().contains(&"inactive".to_string()));
    assert!(!channel.is_open());
}

/// Rules: F6, F7
#[test]
fn another_thread_may_wait_for_what_the_loop_does() {
    let (mut embedded, _) = recorded();
    let channel = embedded.channel().clone();
    let (done, is_done) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let outcome = channel
            .write_and_flush("x")
            .sync_timeout(DEADLINE)
            .and_then(|channel| channel.close().sync_timeout(DEADLINE));
        done.send(outcome.map(drop)).unwrap();
    });
    let outcome = loop {
        embedded.run_pending();
        match is_done.try_recv() {
            Ok(outcome) => break outcome,
            Err(mpsc::TryRecvError::Empty) => thread::yield_now(),
            Err(mpsc::TryRecvError::Disconnected) => panic!("the waiter is gone"),
        }
    };
    assert!(outcome.is_ok(), "{outcome:?}");
    waiter.join().unwrap();
    assert_eq!(sent(&mut embedded), ["x"]);
}

/// Rules: B24, C16
#[test]
fn many_threads_write_and_each_ones_order_holds() {
    const THREADS: usize = 4;
    const WRITES: usize = 2_000;
    let (mut embedded, _) = recorded();
    let channel = embedded.channel().clone();
    let order = Arc::new(Mutex::new(vec![Vec::new(); THREADS]));
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (channel, order) = (channel.clone(), order.clone());
            thread::spawn(move || {
                for n in 0..WRITES {
                    let order = order.clone();
                    let future = if n % 7 == 0 {
                        channel.write_and_flush(format!("{thread} {n}"))
                    } else {
                        channel.write_future(format!("{thread} {n}"))
                    };
                    future.add_listener(move |_, result| {
                        assert!(result.is_ok());
                        order.lock().unwrap()[thread].push(n);
                    });
                }
            })
        })
        .collect();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        embedded.run_pending();
        thread::yield_now();
    }
    for writer in writers {
        writer.join().unwrap();
    }
    embedded.run_pending();
    embedded.run(Channel::flush);
    let expected: Vec<usize> = (0..WRITES).collect();
    assert_eq!(*order.lock().unwrap(), vec![expected.clone(); THREADS]);
    let mut seen = vec![Vec::new(); THREADS];
    for msg in sent(&mut embedded) {
        let (thread, n) = msg.split_once(' ').unwrap();
        seen[thread.parse::<usize>().unwrap()].push(n.parse::<usize>().unwrap());
    }
    assert_eq!(seen, vec![expected; THREADS]);
    assert!(channel.is_writable());
    assert_eq!(channel.bytes_before_unwritable(), 64 * 1024 + 1);
}

/// Rules: D2
#[test]
fn settings_travel_as_well() {
    let (mut embedded, log) = recorded_with(&option(AUTO_READ, false));
    embedded.feed(["a"]);
    let channel = embedded.channel().clone();
    let answers = elsewhere(&channel, |channel| {
        channel.set_auto_read(true);
        (
            channel.option(AUTO_READ),
            channel.edit(|pipeline| pipeline.names().len()),
        )
    });
    embedded.run_pending();
    assert_eq!(answers.0.get_now(), Some(true));
    assert_eq!(answers.1.get_now(), Some(1));
    assert_eq!(log.take(), ["read a", "complete"]);
}

/// A cancelled edit is not made.
#[test]
fn an_edit_that_was_cancelled_on_its_way_is_not_made() {
    let (mut embedded, _) = recorded();
    let log = Log::default();
    let seen = log.clone();
    let edit = embedded.channel().edit(move |_| seen.add("edited"));
    assert!(edit.cancel());
    embedded.run_pending();
    assert_eq!(log.take(), [""; 0]);
}
