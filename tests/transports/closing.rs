//! Half closure, resets, what the flags say (rules A25 to A46).

use std::io::{Read, Write};
use std::time::Duration;

use tidegate::channel::options::{ALLOW_HALF_CLOSURE, SO_LINGER};
use tidegate::error::ErrorKind;

use crate::place::{SMALLEST, everywhere, everywhere_with};
use crate::probe::{DEADLINE, Seen, next, read_exactly, so_far, until, wait_for};
use crate::row::Feature;

/// More than any socket buffers of this machine hold.
const A_LOT: usize = 64 << 20;

/// Rules: A35
#[test]
fn the_peers_end_closes_the_channel_after_its_data() {
    everywhere(|place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| recipe);
        peer.write_all(b"last words").unwrap();
        peer.end_output();
        assert_eq!(read_exactly(&seen, 10), b"last words");
        wait_for(&seen, &Seen::Inactive);
        assert_eq!(next(&seen), Seen::Unregistered);
        assert_eq!(next(&seen), Seen::Removed);
        client.close_future().sync_timeout(DEADLINE).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

/// Rules: A36
#[test]
fn with_half_closure_the_peers_end_is_an_event_and_writing_goes_on() {
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(ALLOW_HALF_CLOSURE, true));
        peer.write_all(b"question").unwrap();
        peer.end_output();
        assert_eq!(read_exactly(&seen, 8), b"question");
        wait_for(&seen, &Seen::Event("ChannelInputShutdown"));
        assert_eq!(next(&seen), Seen::Event("ChannelInputShutdownReadComplete"));
        assert!(client.is_active());
        client.read();
        client
            .write_and_flush("answer")
            .sync_timeout(DEADLINE)
            .unwrap();
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(so_far(&seen), [], "told once, and nothing is read any more");
        client.close().sync_timeout(DEADLINE).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

/// Rules: A41
#[test]
fn ending_our_output_lets_the_peer_go_on() {
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(ALLOW_HALF_CLOSURE, true));
        client
            .write_and_flush("question")
            .sync_timeout(DEADLINE)
            .unwrap();
        client.shutdown_output().sync_timeout(DEADLINE).unwrap();
        assert_eq!(next(&seen), Seen::Event("ChannelOutputShutdown"));
        let mut question = Vec::new();
        peer.read_to_end(&mut question).unwrap();
        assert_eq!(question, b"question");
        let late = client
            .write_and_flush("late")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ChannelClosed);
        let again = client.shutdown_output().sync_timeout(DEADLINE).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::ChannelClosed);
        assert!(client.is_active());
        peer.write_all(b"answer").unwrap();
        assert_eq!(read_exactly(&seen, 6), b"answer");
        drop(peer);
        wait_for(&seen, &Seen::Event("ChannelInputShutdown"));
        client.close().sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Inactive);
    });
}

/// Rules: A42, A43
#[test]
fn ending_our_input_leads_to_the_end_of_input() {
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| recipe.option(ALLOW_HALF_CLOSURE, true));
        client.shutdown_input().sync_timeout(DEADLINE).unwrap();
        wait_for(&seen, &Seen::Event("ChannelInputShutdown"));
        client
            .write_and_flush("still here")
            .sync_timeout(DEADLINE)
            .unwrap();
        peer.read_exact(&mut [0; 10]).unwrap();
        let both = client.shutdown().sync_timeout(DEADLINE);
        assert!(both.is_ok(), "{both:?}");
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        client.close().sync_timeout(DEADLINE).unwrap();
    });
}

/// Rules: A40
#[test]
fn a_reset_is_an_error_and_closes_the_channel() {
    everywhere_with(&[Feature::Resets], |place| {
        let (client, mut peer, seen) = place.client_and_peer(|recipe| recipe);
        peer.reset_on_close();
        drop(peer);
        loop {
            match next(&seen) {
                Seen::Error(text) => {
                    assert!(text.contains("reading from"), "{text}");
                    break;
                }
                Seen::Complete => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(next(&seen), Seen::Inactive);
        client.close_future().sync_timeout(DEADLINE).unwrap();
        let late = client
            .write_and_flush("late")
            .sync_timeout(DEADLINE)
            .unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ChannelClosed);
    });
}

/// Rules: A30, A44
#[test]
fn a_reset_while_much_is_pending_fails_the_writes_in_order() {
    everywhere(|place| {
        let (client, mut peer, seen) =
            place.client_and_peer(|recipe| place.narrow(recipe, SMALLEST));
        let (tell, told) = std::sync::mpsc::channel();
        for number in 0..64 {
            let tell = tell.clone();
            client
                .write_future(vec![0_u8; A_LOT / 64])
                .add_listener(move |_, result| {
                    let _ = tell.send((number, result.as_ref().err().cloned()));
                });
        }
        client.flush();
        // Some of it arrives, so that the write is under way.
        peer.read_exact(&mut [0; 1000]).unwrap();
        peer.reset_on_close();
        drop(peer);
        wait_for(&seen, &Seen::Inactive);
        let mut has_failed = false;
        for expected in 0..64 {
            let (number, error) = told.recv_timeout(DEADLINE).unwrap();
            assert_eq!(number, expected);
            match error {
                None => assert!(!has_failed, "nothing succeeds behind a failure"),
                Some(error) => {
                    has_failed = true;
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                }
            }
        }
        assert!(has_failed);
    });
}

/// Rules: A31
#[test]
fn zero_linger_resets_the_peer() {
    everywhere_with(&[Feature::Resets], |place| {
        let (client, mut peer, _seen) =
            place.client_and_peer(|recipe| recipe.option(SO_LINGER, Some(Duration::ZERO)));
        assert_eq!(
            client.option(SO_LINGER).sync_timeout(DEADLINE).unwrap(),
            Some(Duration::ZERO)
        );
        client.close().sync_timeout(DEADLINE).unwrap();
        let error = peer.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

/// Rules: A29, A46
#[test]
fn closing_again_succeeds_and_the_flags_tell_the_truth() {
    everywhere(|place| {
        let (client, _peer, seen) = place.client_and_peer(|recipe| recipe);
        assert!(client.is_open() && client.is_active() && client.is_registered());
        let closes = [client.close(), client.close(), client.disconnect()];
        for close in closes {
            close.sync_timeout(DEADLINE).unwrap();
        }
        assert!(!client.is_open() && !client.is_active() && !client.is_writable());
        wait_for(&seen, &Seen::Removed);
        // The loop has nothing of it any more, and still the answer is that it is closed.
        until("the channel has left its loop", || !client.is_registered());
        client.close_future().sync_timeout(DEADLINE).unwrap();
        client.close().sync_timeout(DEADLINE).unwrap();
        assert!(!client.close_future().cancel());
    });
}
