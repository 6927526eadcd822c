//! Connecting: how it begins, and all the ways in which it ends.

use std::time::Duration;

use tidegate::channel::Progress;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ, CONNECT_TIMEOUT};
use tidegate::{
    Address, ChannelFuture, Context, EmbeddedChannel, ErrorKind, Handler, HandlerResult, OptionSet,
    Promise,
};

use crate::support::{Log, kind, option, sent, unconnected, unconnected_with};

fn connecting(options: &OptionSet) -> (EmbeddedChannel, Log, ChannelFuture) {
    let (mut embedded, log) = unconnected_with(options);
    embedded.set_connect(Some(Progress::Pending));
    let future = embedded.run(|channel| channel.connect("peer", None));
    assert!(!future.is_done());
    assert!(!embedded.channel().is_active());
    (embedded, log, future)
}

fn finish(embedded: &mut EmbeddedChannel) {
    let signal = embedded.signal();
    embedded.run(|_| signal.connected(Ok(())));
}

/// Rules: A14
#[test]
fn the_promise_of_a_connect_is_done_before_active() {
    for progress in [Progress::Done, Progress::Pending] {
        let (mut embedded, log) = unconnected();
        embedded.set_connect(Some(progress));
        // As a task, so that the listener is there before the connect begins.
        log.watch("connected", &embedded.channel().connect("peer", None));
        embedded.run_pending();
        if progress == Progress::Pending {
            assert_eq!(log.take(), [""; 0]);
            finish(&mut embedded);
        }
        assert_eq!(log.take()[..2], ["connected", "active"], "{progress:?}");
        assert!(embedded.channel().is_active());
    }
}

/// Rules: A14
#[test]
fn a_listener_that_closes_the_new_connection_still_sees_active_and_inactive() {
    let (mut embedded, log) = unconnected();
    embedded.set_connect(Some(Progress::Done));
    let seen = log.clone();
    let future = embedded.channel().connect("peer", None);
    future.add_listener(move |channel, result| {
        assert!(result.is_ok());
        seen.add(format!("is_active {}", channel.is_active()));
        channel.close();
    });
    embedded.run_pending();
    assert_eq!(
        log.take(),
        [
            "is_active true",
            "active",
            "inactive",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: A15
#[test]
fn a_second_connect_fails_and_leaves_the_first_alone() {
    let (mut embedded, log, first) = connecting(&OptionSet::new());
    let second = embedded.run(|channel| channel.connect("other", None));
    assert_eq!(kind(&second), ErrorKind::ConnectionPending);
    assert!(!first.is_done());
    finish(&mut embedded);
    assert!(first.is_success());
    let third = embedded.run(|channel| channel.connect("other", None));
    assert_eq!(kind(&third), ErrorKind::AlreadyConnected);
    assert!(embedded.channel().is_active());
    assert_eq!(log.take(), ["active", "complete"]);
    embedded.close();
    let fourth = embedded.run(|channel| channel.connect("other", None));
    assert_eq!(kind(&fourth), ErrorKind::ChannelClosed);
}

/// Rules: A16, A20
#[test]
fn a_connect_under_way_can_be_cancelled_and_the_channel_closes() {
    let (mut embedded, log, future) = connecting(&OptionSet::new());
    assert!(embedded.next_timer().is_some());
    assert!(embedded.run(|_| future.cancel()));
    assert!(future.is_cancelled());
    assert!(embedded.channel().close_future().is_success());
    assert_eq!(
        log.take(),
        ["unregistered", "removed"],
        "it never was active"
    );
    assert_eq!(embedded.next_timer(), None);
}

/// Rules: A20
#[test]
fn a_cancel_from_another_thread_closes_as_well() {
    let (mut embedded, _, future) = connecting(&OptionSet::new());
    std::thread::spawn(move || assert!(future.cancel()))
        .join()
        .unwrap();
    assert!(embedded.channel().is_open(), "that is for its loop to do");
    embedded.run_pending();
    assert!(!embedded.channel().is_open());
}

/// Rules: A20
#[test]
fn what_happened_happened_if_cancel_and_success_meet() {
    let (mut embedded, log, future) = connecting(&OptionSet::new());
    let signal = embedded.signal();
    // Cancelled outside of the loop; before it learns of that, the connect is done.
    assert!(future.cancel());
    embedded.run(|_| signal.connected(Ok(())));
    let log = log.take();
    assert!(!log.contains(&"active".to_string()) || log.contains(&"inactive".to_string()));
    assert!(log.ends_with(&["unregistered".to_string(), "removed".to_string()]));
    assert!(!embedded.channel().is_open());
}

/// Rules: A16
#[test]
fn a_connect_that_was_cancelled_on_its_way_does_not_begin() {
    // A handler would stop it, and so must the head.
    for with_handler in [true, false] {
        let (mut embedded, log) = unconnected();
        if !with_handler {
            embedded
                .pipeline(|pipeline| pipeline.remove_first())
                .unwrap();
            log.take();
        }
        embedded.set_connect(Some(Progress::Done));
        let future = embedded.channel().connect("peer", None);
        assert!(future.cancel());
        embedded.run_pending();
        assert!(embedded.channel().is_open() && !embedded.channel().is_active());
        assert_eq!(log.take(), [""; 0]);
    }
}

/// News of a connect that is over change nothing.
#[test]
fn a_connect_that_fails_after_it_succeeded_is_not_heard() {
    let (mut embedded, _, future) = connecting(&OptionSet::new());
    finish(&mut embedded);
    let signal = embedded.signal();
    embedded.run(|_| signal.connected(Err(crate::support::reset())));
    assert!(future.is_success());
    assert!(embedded.channel().is_active());
}

/// Rules: A19
#[test]
fn a_connect_that_takes_too_long_fails_and_closes() {
    let timeout = Duration::from_millis(750);
    let (mut embedded, log, future) = connecting(&option(CONNECT_TIMEOUT, timeout));
    embedded.run(|channel| log.watch("closed", &channel.close_future()));
    log.watch("connect", &future);
    assert_eq!(embedded.next_timer(), Some(timeout));
    embedded.advance(timeout - Duration::from_nanos(1));
    assert!(!future.is_done(), "never early");
    embedded.advance(Duration::from_nanos(1));
    assert_eq!(kind(&future), ErrorKind::ConnectTimeout);
    let text = future.cause().unwrap().to_string();
    assert!(text.contains("750 ms") && text.contains("peer"), "{text}");
    assert_eq!(
        log.take(),
        [
            "connect: connection attempt timed out",
            "closed",
            "unregistered",
            "removed"
        ]
    );
}

/// Rules: A19
#[test]
fn the_timer_of_a_connect_goes_with_it() {
    let (mut embedded, _, _future) = connecting(&OptionSet::new());
    assert_eq!(embedded.next_timer(), Some(Duration::from_secs(30)));
    finish(&mut embedded);
    assert_eq!(embedded.next_timer(), None, "after success");

    let (mut embedded, _, future) = connecting(&OptionSet::new());
    let signal = embedded.signal();
    embedded.run(|_| signal.connected(Err(crate::support::reset())));
    assert_eq!(kind(&future), ErrorKind::ConnectionReset);
    assert_eq!(embedded.next_timer(), None, "after failure");

    let (mut embedded, _, _future) = connecting(&OptionSet::new());
    embedded.close();
    assert_eq!(embedded.next_timer(), None, "after a close");

    let (embedded, _, _future) = connecting(&option(CONNECT_TIMEOUT, Duration::ZERO));
    assert_eq!(embedded.next_timer(), None, "zero is no limit");
}

/// Rules: A17
#[test]
fn a_refused_connect_never_fires_active_nor_inactive() {
    let half = option(ALLOW_HALF_CLOSURE, true);
    for options in [OptionSet::new(), half] {
        let (mut embedded, log) = unconnected_with(&options);
        embedded.set_connect(None);
        log.watch("connect", &embedded.channel().connect("peer", None));
        embedded.run_pending();
        assert_eq!(
            log.take(),
            ["connect: connection refused", "unregistered", "removed"]
        );
    }
    let (mut embedded, log, future) = connecting(&OptionSet::new());
    let signal = embedded.signal();
    embedded.run(|_| signal.connected(Err(crate::support::reset())));
    assert_eq!(kind(&future), ErrorKind::ConnectionReset);
    assert_eq!(log.take(), ["unregistered", "removed"]);
}

/// Rules: A18, A17
#[test]
fn the_text_of_a_refusal_names_the_address() {
    let (mut embedded, _) = unconnected();
    embedded.set_connect(None);
    let future = embedded.run(|channel| channel.connect("lighthouse", None));
    let text = future.cause().unwrap().to_string();
    assert!(text.contains("lighthouse"), "{text}");
    assert!(
        !embedded.channel().is_open(),
        "the socket is of no use any more"
    );
}

/// Rules: A21
#[test]
fn a_close_while_connecting_fails_the_connect() {
    let (mut embedded, log, future) = connecting(&OptionSet::new());
    log.watch("connect", &future);
    embedded.run(|channel| log.watch("closed", &channel.close_future()));
    let close = embedded.close();
    assert!(close.is_success());
    assert_eq!(
        log.take(),
        [
            "connect: channel closed",
            "closed",
            "unregistered",
            "removed"
        ]
    );
    finish(&mut embedded);
    assert_eq!(log.take(), [""; 0], "too late");
}

/// Rules: A23
#[test]
fn addresses_are_known_in_time_and_stay_after_the_close() {
    let (mut embedded, _) = unconnected();
    let channel = embedded.channel().clone();
    assert_eq!(channel.remote_address(), None);
    embedded.set_connect(Some(Progress::Pending));
    embedded.run(|channel| channel.connect("the form the user gave", None));
    assert!(channel.local_address().is_some(), "while it connects");
    assert_eq!(channel.remote_address(), None);
    finish(&mut embedded);
    let remote = Address::from("the form the user gave");
    assert_eq!(channel.remote_address(), Some(remote.clone()));
    embedded.close();
    assert_eq!(channel.remote_address(), Some(remote));
}

/// Rules: A24
#[test]
fn an_address_that_nobody_resolved_is_refused() {
    let (mut embedded, _) = unconnected();
    embedded.set_connect(Some(Progress::Done));
    let future = embedded.run(|channel| channel.connect("example.org:80", None));
    assert_eq!(kind(&future), ErrorKind::InvalidArgument);
    assert!(embedded.channel().is_open());
}

/// Rules: A8
#[test]
fn a_bind_that_fails_leaves_the_channel_open() {
    let (mut embedded, log) = unconnected();
    let future = embedded.run(|channel| channel.bind("here"));
    assert_eq!(kind(&future), ErrorKind::Unsupported);
    assert!(embedded.channel().is_open());
    assert_eq!(log.take(), [""; 0]);
}

/// Rules: A42
#[test]
fn shutdowns_before_the_connect_are_refused() {
    let (mut embedded, _) = unconnected();
    for future in embedded.run(|channel| {
        [
            channel.shutdown_output(),
            channel.shutdown_input(),
            channel.shutdown(),
        ]
    }) {
        assert_eq!(kind(&future), ErrorKind::NotYetConnected);
    }
    assert_eq!(embedded.shutdowns(), []);
}

/// Rules: C8, C22
#[test]
fn writes_before_the_connect_wait_but_a_flush_fails_them() {
    let (mut embedded, log, _connect) = connecting(&OptionSet::new());
    let early = embedded.run(|channel| {
        let early = channel.write_future("too early");
        channel.flush();
        early
    });
    assert_eq!(kind(&early), ErrorKind::NotYetConnected);
    let waiting = embedded.run(|channel| channel.write_future("patient"));
    assert!(!waiting.is_done());
    finish(&mut embedded);
    embedded.run(|channel| channel.flush());
    assert!(waiting.is_success());
    assert_eq!(sent(&mut embedded), ["patient"]);
    assert_eq!(log.take(), ["active", "complete"]);
}

/// Rules: D3
///
/// What arrives together with the connection shows no further edge.
#[test]
fn a_read_from_before_the_connect_is_kept() {
    let (mut embedded, log) = unconnected_with(&option(AUTO_READ, false));
    embedded.run(|channel| channel.read());
    embedded.feed(["early bird", "not asked for"]);
    assert_eq!(log.take(), [""; 0]);
    embedded.set_connect(Some(Progress::Pending));
    embedded.run(|channel| channel.connect("peer", None));
    assert_eq!(log.take(), [""; 0]);
    finish(&mut embedded);
    assert_eq!(log.take(), ["active", "read early bird", "complete"]);
    assert_eq!(embedded.unread(), 1);
}

/// Rules: D1, B18
#[test]
fn auto_read_begins_with_active() {
    let (mut embedded, log) = unconnected();
    embedded.feed(["a"]);
    assert_eq!((embedded.reads(), log.take()), (0, vec![]));
    embedded.set_connect(Some(Progress::Done));
    embedded.run(|channel| channel.connect("peer", None));
    assert_eq!(log.take(), ["active", "read a", "complete"]);
}

/// A handler may hold a connect back, or send it elsewhere.
#[test]
fn a_handler_may_change_the_address_of_a_connect() {
    struct Elsewhere;
    impl Handler for Elsewhere {
        fn connect(
            &mut self,
            ctx: &mut Context<'_>,
            _: Address,
            local: Option<Address>,
            promise: Promise,
        ) -> HandlerResult {
            ctx.connect("elsewhere", local, promise);
            Ok(())
        }
    }
    let mut embedded =
        EmbeddedChannel::unconnected(&OptionSet::new(), |pipeline| pipeline.add_last(Elsewhere))
            .unwrap();
    embedded.set_connect(Some(Progress::Done));
    let future = embedded.run(|channel| channel.connect("peer", None));
    assert!(future.is_success());
    let remote = embedded.channel().remote_address();
    assert_eq!(remote, Some(Address::from("elsewhere")));
}
