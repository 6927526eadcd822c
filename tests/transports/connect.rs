//! How connects end (rules A14 to A22).

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate::channel::options::{ALLOW_HALF_CLOSURE, CONNECT_TIMEOUT};
use tidegate::error::{ErrorKind, Fault};

use crate::place::{everywhere, everywhere_with};
use crate::probe::{DEADLINE, Seen, next};
use crate::row::Feature;

/// Registered, never active, gone.
fn expect_stillborn(seen: &mpsc::Receiver<Seen>) {
    assert_eq!(next(seen), Seen::Registered);
    assert_eq!(next(seen), Seen::Unregistered);
    assert_eq!(next(seen), Seen::Removed);
}

/// Rules: A17, A18
#[test]
fn a_refused_connect_names_the_address_and_the_channel_never_becomes_active() {
    everywhere(|place| {
        for half_closure in [false, true] {
            let (address, _held) = place.row.refusing();
            let (recipe, seen) = place.probed();
            let recipe = recipe.option(ALLOW_HALF_CLOSURE, half_closure);
            let future = place.connect(recipe, address.clone());
            let error = future.sync_timeout(DEADLINE).unwrap_err();
            assert_eq!(
                (error.kind(), error.fault()),
                (ErrorKind::ConnectRefused, Fault::Peer)
            );
            assert!(error.to_string().contains(&address.to_string()), "{error}");
            future
                .channel()
                .close_future()
                .sync_timeout(DEADLINE)
                .unwrap();
            expect_stillborn(&seen);
        }
    });
}

/// Rules: A19
#[test]
fn a_connect_that_takes_too_long_fails_with_its_timeout() {
    everywhere_with(&[Feature::PendingConnect], |place| {
        let full = place.row.full();
        let (recipe, seen) = place.probed();
        let begun = Instant::now();
        let recipe = recipe.option(CONNECT_TIMEOUT, Duration::from_millis(60));
        let future = place.connect(recipe, full);
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert!(begun.elapsed() >= Duration::from_millis(60));
        assert!(error.to_string().contains("60 ms"), "{error}");
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        expect_stillborn(&seen);
    });
}

/// Rules: A16, A20
#[test]
fn cancelling_a_connect_closes_the_channel() {
    everywhere_with(&[Feature::PendingConnect], |place| {
        let full = place.row.full();
        let (recipe, seen) = place.probed();
        let future = place.connect(recipe, full.clone());
        assert_eq!(next(&seen), Seen::Registered);
        assert!(future.cancel());
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(future.is_cancelled());
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

/// Rules: A21
#[test]
fn closing_while_connecting_fails_the_connect() {
    everywhere_with(&[Feature::PendingConnect], |place| {
        let full = place.row.full();
        let (recipe, seen) = place.probed();
        let future = place.connect(recipe, full.clone());
        assert_eq!(next(&seen), Seen::Registered);
        future.channel().close().sync_timeout(DEADLINE).unwrap();
        let error = future.sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelClosed);
        assert_eq!(next(&seen), Seen::Unregistered);
    });
}

/// Rules: A14
#[test]
fn a_listener_that_closes_the_channel_comes_before_active_which_still_happens() {
    everywhere(|place| {
        let listener = place.row.listen();
        let (recipe, seen) = place.probed();
        let future = place.connect(recipe, listener.address());
        future.add_listener(|channel, result| {
            assert!(result.is_ok());
            channel.close();
        });
        let _peer = listener.accept();
        future
            .channel()
            .close_future()
            .sync_timeout(DEADLINE)
            .unwrap();
        for expected in [
            Seen::Registered,
            Seen::Active,
            Seen::Inactive,
            Seen::Unregistered,
            Seen::Removed,
        ] {
            assert_eq!(next(&seen), expected);
        }
    });
}

/// Rules: A15
#[test]
fn a_second_connect_fails_and_the_first_goes_on() {
    everywhere_with(&[Feature::PendingConnect], |place| {
        let full = place.row.full();
        let (recipe, seen) = place.probed();
        let future = place.connect(recipe, full.clone());
        assert_eq!(next(&seen), Seen::Registered);
        let second = future
            .channel()
            .connect(full.clone(), None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(second.kind(), ErrorKind::ConnectionPending);
        assert!(!future.is_done());
        future.channel().close().sync_timeout(DEADLINE).unwrap();

        let (client, _peer, _seen) = place.client_and_peer(|recipe| recipe);
        let third = client
            .connect(full.clone(), None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(third.kind(), ErrorKind::AlreadyConnected);
        assert!(client.is_active());
        client.close().sync_timeout(DEADLINE).unwrap();
        let fourth = client
            .connect(full.clone(), None)
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(fourth.kind(), ErrorKind::ChannelClosed);
    });
}

/// Rules: C8, C22
#[test]
fn a_write_before_the_connect_is_done_waits_and_its_flush_fails_it() {
    everywhere_with(&[Feature::PendingConnect], |place| {
        let full = place.row.full();
        let (recipe, seen) = place.probed();
        let future = place.connect(recipe, full.clone());
        assert_eq!(next(&seen), Seen::Registered);
        let error = future
            .channel()
            .write_and_flush("early")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotYetConnected);
        future.channel().close().sync_timeout(DEADLINE).unwrap();
    });
}
