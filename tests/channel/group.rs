//! Groups of channels: Netty's rule H61, and what threads and loops add to it.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use tidegate::buffer::Bytes;
use tidegate::channel::{GroupFailures, GroupFuture, Selection};
use tidegate::{Channel, ChannelGroup, EmbeddedChannel, Error, ErrorKind};

use crate::support::{DEADLINE, recorded, reset, sent};

/// Channels, each on a loop of its own.
fn channels(count: usize) -> Vec<EmbeddedChannel> {
    (0..count).map(|_| recorded().0).collect()
}

fn group_of(channels: &[EmbeddedChannel]) -> ChannelGroup {
    let group = ChannelGroup::new("test");
    for channel in channels {
        assert!(group.add(channel.channel()));
    }
    group
}

fn turn(channels: &mut [EmbeddedChannel]) {
    for channel in channels {
        channel.run_pending();
    }
}

#[test]
fn groups_and_their_futures_may_be_used_from_any_thread() {
    fn any_thread<T: Send + Sync + Clone>() {}
    any_thread::<ChannelGroup>();
    any_thread::<GroupFuture>();
    any_thread::<Selection>();
    any_thread::<GroupFailures>();
}

/// Rules: H61.
#[test]
fn a_channel_is_in_a_group_once_and_leaves_when_it_closes() {
    let mut channels = channels(2);
    let group = group_of(&channels);
    let first = channels[0].channel().clone();
    assert!(!group.add(&first), "it is in already");
    assert_eq!((group.len(), group.name()), (2, "test"));
    assert!(group.contains(&first));
    assert_eq!(group.find(first.id()), Some(first.clone()));
    channels[0].close();
    assert!(!group.contains(&first));
    assert_eq!(group.channels(), [channels[1].channel().clone()]);
    assert!(group.remove(channels[1].channel()));
    assert!(!group.remove(channels[1].channel()));
    assert!(group.is_empty());
}

#[test]
fn a_channel_that_is_closed_already_does_not_stay() {
    let mut channels = channels(1);
    channels[0].close();
    let group = ChannelGroup::new("late");
    group.add(channels[0].channel());
    channels[0].run_pending();
    assert!(group.is_empty());
}

#[test]
fn a_channel_that_was_removed_and_added_again_still_leaves() {
    let mut channels = channels(1);
    let group = group_of(&channels);
    for _ in 0..100 {
        assert!(group.remove(channels[0].channel()));
        assert!(group.add(channels[0].channel()));
    }
    channels[0].close();
    assert!(group.is_empty());
}

/// Rules: H61.
#[test]
fn a_message_goes_to_every_channel() {
    let mut channels = channels(3);
    let group = group_of(&channels);
    let written = group.write(Bytes::from_static(b"a"));
    turn(&mut channels);
    assert!(!written.is_done());
    group.flush();
    let both = group.write_and_flush(String::from("b"));
    turn(&mut channels);
    assert!(written.is_success() && both.is_success());
    assert!(!both.is_partial());
    for channel in &mut channels {
        assert_eq!(sent(channel), ["a", "b"]);
    }
}

#[test]
fn a_selection_is_some_of_the_channels() {
    let mut channels = channels(3);
    let group = group_of(&channels);
    let sender = channels[1].channel().clone();
    let others = group.select(|channel| *channel != sender);
    assert_eq!(others.channels().len(), 2);
    let future = others.write_and_flush("from 1");
    turn(&mut channels);
    assert!(future.is_success());
    assert_eq!(future.futures().len(), 2);
    assert!(future.find(&sender).is_none());
    assert!(future.find(channels[0].channel()).unwrap().is_success());
    assert_eq!(
        channels.iter_mut().map(sent).collect::<Vec<_>>(),
        [vec!["from 1"], vec![], vec!["from 1"]]
    );
    let one = group.select(|channel| *channel == sender).close();
    turn(&mut channels);
    assert!(one.is_success());
    assert_eq!(group.len(), 2);
}

/// Rules: H61.
#[test]
fn a_groups_future_lists_the_failures() {
    let mut channels = channels(3);
    let group = group_of(&channels);
    channels[1].fail_next_flush(reset());
    let future = group.write_and_flush("x");
    channels[0].run_pending();
    channels[1].run_pending();
    assert!(!future.is_done(), "one is missing");
    assert_eq!(future.failures().len(), 1, "and one is known already");
    channels[2].run_pending();
    assert!(future.is_done() && !future.is_success() && future.is_partial());
    let error = future.cause().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let text = format!("{error}: {}", error.source().unwrap());
    assert!(text.contains("1 of 3 channels"), "{text}");
    assert!(text.contains(&channels[1].channel().to_string()), "{text}");
    let failures = GroupFailures::of(&error).expect("the list");
    assert_eq!(failures.len(), 1);
    let (channel, error) = failures.iter().next().unwrap();
    assert_eq!(channel, channels[1].channel());
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(group.len(), 2, "a write error closes");
}

/// Rules: H61.
#[test]
fn an_empty_group_has_succeeded() {
    let group = ChannelGroup::new("empty");
    for future in [
        group.write("x"),
        group.write_and_flush("x"),
        group.close(),
        group.disconnect(),
        group.close_future(),
    ] {
        assert!(future.is_success() && !future.is_partial());
        assert!(future.sync().is_ok());
    }
    group.flush();
}

#[test]
fn closing_a_group_closes_all_of_it() {
    let mut channels = channels(3);
    let group = group_of(&channels);
    let all = group.close_future();
    let closed = group.close();
    turn(&mut channels);
    assert!(closed.is_success() && all.is_success());
    assert!(group.is_empty());
    let (late, _) = recorded();
    group.add(late.channel());
    assert!(late.channel().is_open(), "an ordinary group is open again");
}

#[test]
fn disconnecting_a_group_closes_what_cannot_disconnect() {
    let mut channels = channels(2);
    let group = group_of(&channels);
    let done = group.disconnect();
    turn(&mut channels);
    assert!(done.is_success());
    assert!(group.is_empty());
}

/// Rules: H61.
#[test]
fn a_group_that_stays_closed_closes_what_is_added() {
    let group = ChannelGroup::staying_closed("going down");
    let mut channels = channels(2);
    assert!(group.add(channels[0].channel()));
    turn(&mut channels);
    assert!(channels[0].channel().is_open());
    group.close();
    assert!(group.add(channels[1].channel()));
    turn(&mut channels);
    assert!(channels.iter().all(|channel| !channel.channel().is_open()));
    assert!(group.is_empty());
}

/// What the single futures tell, the group's does not deny.
#[test]
fn a_groups_future_is_done_as_soon_as_the_last_channel_is() {
    let mut channels = channels(1);
    let group = group_of(&channels);
    channels[0].run(|_| {
        let future = group.write_and_flush("x");
        assert!(
            future.futures()[0].is_done(),
            "its listeners have yet to run"
        );
        assert!(future.is_done() && future.is_success());
        assert!(future.cause().is_none() && future.sync().is_ok());
    });
    channels[0].fail_next_flush(reset());
    let future = channels[0].run(|_| {
        let future = group.write_and_flush("x");
        assert_eq!(future.failures().len(), 1);
        assert!(future.is_done() && !future.is_success() && !future.is_partial());
        assert_eq!(
            future.sync().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        future
    });
    let later = future.completion().cause().unwrap();
    assert!(later.is_same(&future.cause().unwrap()), "one error for all");
}

#[test]
fn a_listener_hears_when_the_last_channel_is_done() {
    let mut channels = channels(3);
    let group = group_of(&channels);
    let (told, hears) = mpsc::channel();
    let future = group.write_and_flush("x");
    future.add_listener(move |future| told.send(future.is_success()).unwrap());
    for channel in &mut channels {
        assert!(hears.try_recv().is_err());
        channel.run_pending();
    }
    assert_eq!(hears.try_recv(), Ok(true));
}

#[test]
fn a_listener_that_panics_does_no_harm() {
    let mut channels = channels(1);
    let group = group_of(&channels);
    let future = group.write_and_flush("x");
    future.add_listener(|_| panic!("boom"));
    turn(&mut channels);
    assert!(future.is_success());
    assert!(channels[0].channel().is_active());
}

#[test]
fn a_thread_may_wait_for_a_group_but_not_the_one_that_turns_its_loops() {
    let mut channels = channels(2);
    let group = group_of(&channels);
    let future = group.write_and_flush("x");
    assert_eq!(future.sync().unwrap_err().kind(), ErrorKind::Blocking);
    let waiting = future.clone();
    let waiter = thread::spawn(move || waiting.sync_timeout(DEADLINE));
    turn(&mut channels);
    assert!(waiter.join().unwrap().is_ok());
    assert!(future.sync().is_ok(), "done is done");
}

#[test]
fn a_groups_future_can_be_awaited() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let mut channels = channels(2);
    let group = group_of(&channels);
    let waker = Waker::from(Arc::new(Nobody));
    let mut cx = Context::from_waker(&waker);
    let mut future = Box::pin(group.write_and_flush("x"));
    assert!(future.as_mut().poll(&mut cx).is_pending());
    turn(&mut channels);
    assert!(matches!(future.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
}

#[test]
fn a_groups_operation_on_a_channel_that_has_just_closed_fails_for_that_one() {
    let mut channels = channels(2);
    let group = group_of(&channels);
    let everyone = group.select(|_| true);
    channels[0].close();
    let future: GroupFuture = everyone.write_and_flush("x");
    turn(&mut channels);
    let failures: Vec<(Channel, Error)> = future.failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].1.kind(), ErrorKind::ChannelClosed);
    let again = everyone.close();
    turn(&mut channels);
    assert!(again.is_success(), "closing what is closed is no failure");
}

/// Threads add and close while others broadcast: nobody deadlocks, and in the end the group is empty.
#[test]
fn groups_hold_under_many_threads() {
    let group = ChannelGroup::staying_closed("crowd");
    let (ready, is_ready) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (group, ready) = (group.clone(), ready.clone());
            thread::spawn(move || {
                let mut channels = channels(20);
                for channel in &channels {
                    group.add(channel.channel());
                }
                ready.send(()).unwrap();
                for round in 0..50 {
                    group.write_and_flush(format!("{round}"));
                    turn(&mut channels);
                }
                let begun = Instant::now();
                while channels.iter().any(|channel| channel.channel().is_open()) {
                    assert!(begun.elapsed() < DEADLINE, "the group did not close");
                    turn(&mut channels);
                    thread::yield_now();
                }
            })
        })
        .collect();
    for _ in 0..4 {
        is_ready.recv_timeout(DEADLINE).unwrap();
    }
    group.close();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(group.is_empty());
}
