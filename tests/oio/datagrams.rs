//! UDP on threads.

use std::net::UdpSocket;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tidegate::channel::options::{MAX_DATAGRAM_PAYLOAD_SIZE, SO_TIMEOUT};
use tidegate::transport::oio;
use tidegate::transport::udp::Datagram;
use tidegate::{
    Bootstrap, Channel, Context, ErrorKind, Failure, Fault, Handler, HandlerResult, Message,
};

use crate::support::{DEADLINE, Echo, Group, no_threads};

/// Tells of datagrams and errors.
struct Tell(mpsc::Sender<Result<Datagram, ErrorKind>>);

impl Handler for Tell {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        let datagram = msg.downcast().expect("a datagram");
        // The test may have seen enough.
        let _ = self.0.send(Ok(datagram));
        Ok(())
    }

    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.0.send(Err(cause.kind()));
        Ok(())
    }
}

fn bound(
    group: &Group,
    prepare: impl FnOnce(Bootstrap<oio::Udp>) -> Bootstrap<oio::Udp>,
) -> (Channel, Receiver<Result<Datagram, ErrorKind>>) {
    let (tell, seen) = mpsc::channel();
    let bootstrap = Bootstrap::new(&group.loops)
        .transport::<oio::Udp>()
        .handler(move |pipeline| pipeline.add_last(Tell(tell.clone())));
    let channel = prepare(bootstrap)
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    (channel, seen)
}

#[test]
fn datagrams_come_back_whole_and_in_order() {
    let group = Group::new();
    let echo = Bootstrap::new(&group.loops)
        .transport::<oio::Udp>()
        .handler(|pipeline| pipeline.add_last(Echo))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let (channel, seen) = bound(&group, |bootstrap| {
        bootstrap.option(SO_TIMEOUT, Duration::from_millis(1))
    });
    let to = echo.local_address().unwrap();
    for round in 0..50 {
        for number in 0..20_u8 {
            let content = vec![number; usize::from(number) * 3];
            channel.write(Message::new(Datagram::new(content, to.clone())));
        }
        channel.flush();
        for number in 0..20_u8 {
            let datagram = seen.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(
                datagram.content,
                vec![number; usize::from(number) * 3],
                "{round}"
            );
            assert_eq!(datagram.peer, to);
        }
    }
    channel.close().sync_timeout(DEADLINE).unwrap();
    echo.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}

/// Rules: C21, D24
#[test]
fn the_error_of_a_datagram_stays_with_it() {
    let group = Group::new();
    let (channel, seen) = bound(&group, |bootstrap| {
        bootstrap.option(MAX_DATAGRAM_PAYLOAD_SIZE, 100)
    });
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let to = peer.local_addr().unwrap();
    // Too long for any network, between two that are not.
    let first = channel.write_future(Message::new(Datagram::new("first", to)));
    let huge = channel.write_future(Message::new(Datagram::new(vec![0; 70_000], to)));
    let last = channel.write_future(Message::new(Datagram::new("last", to)));
    channel.flush();
    first.sync_timeout(DEADLINE).unwrap();
    let error = huge.sync_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.fault(), Fault::Caller, "{error}");
    last.sync_timeout(DEADLINE).unwrap();
    let mut room = [0; 100];
    for expected in ["first", "last"] {
        let (count, from) = peer.recv_from(&mut room).unwrap();
        assert_eq!(&room[..count], expected.as_bytes());
        // One that is longer than the channel takes, and one that is not.
        peer.send_to(&[0; 500], from).unwrap();
        peer.send_to(b"fine", from).unwrap();
        assert_eq!(
            seen.recv_timeout(DEADLINE).unwrap(),
            Err(ErrorKind::TooLong)
        );
        let fine = seen.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(fine.content, "fine");
    }
}

#[test]
fn a_connected_one_sends_bytes_and_its_close_wakes_it() {
    let group = Group::new();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let channel = Bootstrap::new(&group.loops)
        .transport::<oio::Udp>()
        .option(SO_TIMEOUT, Duration::from_secs(1_000))
        .handler(|_| Ok::<_, tidegate::Error>(()))
        .connect(peer.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    channel
        .write_and_flush("bytes")
        .sync_timeout(DEADLINE)
        .unwrap();
    let mut room = [0; 10];
    assert_eq!(peer.recv(&mut room).unwrap(), 5);
    channel.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}
