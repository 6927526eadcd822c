//! The channel of an association on a TCP connection: writes go out, the rest of the socket's life is the same. What TCP
//! can't give is the end of a message, so none is ever read; that is tested where messages are put together.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;

use tidegate::transport::sctp::{
    Accepted, SCTP_BINDX_ADD, SCTP_CONNECTX, SCTP_MESSAGE_MAX, SCTP_NODELAY, SCTP_PEER_ADDRS, Sctp,
    SctpMessage,
};
use tidegate::transport::tcp;
use tidegate::{Bootstrap, Channel, Error, ErrorKind, EventLoopGroup};

use crate::{DEADLINE, Probe, Seen, next};

fn stand_in(group: &EventLoopGroup) -> (Channel, TcpStream, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let near = Accepted::adopt(OwnedFd::from(near)).unwrap();
    let (tell, seen) = Probe::channel();
    let channel = Channel::builder()
        .option(SCTP_MESSAGE_MAX, 1000)
        .open_on(
            &group.next(),
            || Sctp::from(near),
            |pipeline| pipeline.add_last(Probe::new(tell)),
        )
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(next(&seen), Seen::Active);
    (channel, far, seen)
}

/// Rules: C14
#[test]
fn messages_are_sent_one_by_one_in_their_order() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, mut far, _seen) = stand_in(&group);
    for number in 0..100_u16 {
        let text = format!("{number} ");
        channel.write(tidegate::Message::new(
            SctpMessage::new(number, text).protocol(46).unordered(),
        ));
    }
    let last = tidegate::Message::new(SctpMessage::new(0, "end"));
    channel
        .write_and_flush(last)
        .sync_timeout(DEADLINE)
        .unwrap();
    channel.close().sync_timeout(DEADLINE).unwrap();
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    let expected: String = (0..100).map(|number| format!("{number} ")).collect();
    assert_eq!(got, expected + "end");
}

#[test]
fn what_is_no_message_is_refused_and_the_channel_lives() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, _far, _seen) = stand_in(&group);
    let error = channel
        .write_and_flush("bytes")
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("sctp can't write"), "{error}");
    assert!(channel.is_active());
}

/// A message counts as its bytes.
#[test]
fn a_slow_peer_makes_the_channel_unwritable() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, mut far, _seen) = stand_in(&group);
    let big = || tidegate::Message::new(SctpMessage::new(0, vec![7; 100_000]));
    channel.write(big());
    let written = channel.write_future(big());
    // Behind what the loop does now.
    let settled = || {
        let task = channel.event_loop().submit(|| ());
        task.sync_timeout(DEADLINE).unwrap();
    };
    settled();
    assert!(!channel.is_writable());
    channel.flush();
    let mut got = vec![0; 200_000];
    far.read_exact(&mut got).unwrap();
    written.sync_timeout(DEADLINE).unwrap();
    // The promise comes first, the account of its bytes after it.
    settled();
    assert!(channel.is_writable());
}

#[test]
fn a_message_above_the_limit_closes_and_says_so() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, mut far, seen) = stand_in(&group);
    assert_eq!(
        channel
            .option(SCTP_MESSAGE_MAX)
            .sync_timeout(DEADLINE)
            .unwrap(),
        1000
    );
    far.write_all(&[7; 1001]).unwrap();
    let Seen::Error(text) = next(&seen) else {
        panic!("not an error")
    };
    assert!(
        text.contains("more than 1000 bytes (SCTP_MESSAGE_MAX)"),
        "{text}"
    );
    assert_eq!(next(&seen), Seen::Inactive);
}

/// What has come of a message whose end does not come is dropped with the association.
#[test]
fn the_end_of_the_association_is_the_end_of_the_channel() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, mut far, seen) = stand_in(&group);
    far.write_all(b"half a mess").unwrap();
    drop(far);
    assert_eq!(next(&seen), Seen::Inactive);
    channel.close_future().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn options_of_sctp_are_those_of_its_channels_alone() {
    let group = EventLoopGroup::new(1).unwrap();
    let (channel, _far, _seen) = stand_in(&group);
    let refused = channel.set_option(SCTP_PEER_ADDRS, Vec::new());
    let error = refused.sync_timeout(DEADLINE).unwrap_err();
    assert!(error.to_string().contains("can only be read"), "{error}");
    let error = channel
        .option(SCTP_BINDX_ADD)
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert!(error.to_string().contains("can only be set"), "{error}");
    let others = vec!["192.0.2.1:7".parse().unwrap()];
    channel
        .set_option(SCTP_CONNECTX, others.clone())
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(
        channel
            .option(SCTP_CONNECTX)
            .sync_timeout(DEADLINE)
            .unwrap(),
        others
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Bootstrap::new(&group)
        .transport::<tcp::Tcp>()
        .option(SCTP_NODELAY, true)
        .handler(|_| Ok::<_, Error>(()))
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert!(
        error.to_string().contains("tcp has no option SCTP_NODELAY"),
        "{error}"
    );
}
