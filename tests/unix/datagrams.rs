//! Datagrams of the Unix domain: whatever comes, the channel goes on.

use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as PlainDatagram;
use std::path::Path;
use std::sync::mpsc::Receiver;

use tidegate::channel::options::{
    MAX_DATAGRAM_PAYLOAD_SIZE, MAX_MESSAGES_PER_WRITE, RECV_ALLOCATOR,
};
use tidegate::codec::{LineDecoder, StringDecoder};
use tidegate::transport::unix::{
    Datagram, Descriptors, SO_PEERCRED, UNLINK_STALE, UnixAddress, UnixDatagram,
};
use tidegate::{Bootstrap, Channel, ErrorKind, EventLoopGroup, Fault, Message, RecvAllocator};
use tidegate_sys::os::net::{self, Outgoing};

use crate::support::*;

fn bootstrap(group: &EventLoopGroup) -> (Bootstrap<UnixDatagram>, Receiver<Seen>) {
    let (tell, seen) = Probe::channel();
    let bootstrap = Bootstrap::new(group)
        .transport::<UnixDatagram>()
        .handler(move |pipeline| pipeline.add_last(Probe(tell.clone())));
    (bootstrap, seen)
}

/// A bound channel, and what it sees.
fn receiver(group: &EventLoopGroup, path: &Path) -> (Channel, Receiver<Seen>) {
    let (bootstrap, seen) = bootstrap(group);
    let channel = ok(bootstrap.bind(path));
    active(&seen);
    (channel, seen)
}

fn plain(path: &Path) -> PlainDatagram {
    let socket = PlainDatagram::bind(path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

fn read(seen: &Receiver<Seen>) -> Datagram {
    match next(seen) {
        Seen::Read(msg) => msg.downcast().expect("a datagram"),
        other => panic!("a datagram, not {other:?}"),
    }
}

fn error(seen: &Receiver<Seen>) -> tidegate::Error {
    match next(seen) {
        Seen::Error(error) => error,
        other => panic!("an error, not {other:?}"),
    }
}

#[test]
fn an_answer_goes_back_to_who_asked() {
    with_each_group(|group, folder| {
        let (server, seen) = receiver(group, &folder.path("server"));
        let client = plain(&folder.path("client"));
        client.send_to(b"question", folder.path("server")).unwrap();
        let question = read(&seen);
        assert_eq!(question.content, "question");
        assert_eq!(
            question.peer,
            UnixAddress::path(folder.path("client")).into()
        );
        ok(server.write_and_flush(Message::new(question.reply("answer"))));
        let mut buffer = [0; 16];
        let (count, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"answer");
        assert_eq!(from.as_pathname(), Some(&*folder.path("server")));
        ok(server.close());
        assert!(!folder.path("server").exists());
    });
}

#[test]
fn a_connected_channel_sends_bytes_and_waits_for_room() {
    with_each_group(|group, folder| {
        let peer = plain(&folder.path("peer"));
        let (bootstrap, _) = bootstrap(group);
        let client = ok(bootstrap.connect(folder.path("peer")));
        // More than any queue has room for.
        for number in 0..1_999_u32 {
            client.write(number.to_be_bytes().to_vec());
        }
        let last = client.write_future(1_999_u32.to_be_bytes().to_vec());
        client.flush();
        let mut buffer = [0; 16];
        for number in 0..2_000_u32 {
            let count = peer.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..count], number.to_be_bytes());
        }
        ok(last);
        ok(client.close());
    });
}

/// Linux tells who waits for a socket only about the peer that it is connected to.
#[cfg(target_os = "linux")]
#[test]
fn a_full_queue_fails_a_datagram_that_has_an_address_and_no_other() {
    with_each_group(|group, folder| {
        let full = plain(&folder.path("full"));
        let other = plain(&folder.path("other"));
        let (sender, _) = receiver(group, &folder.path("sender"));
        let to = |name: &str| {
            let peer = UnixAddress::path(folder.path(name));
            sender.write_and_flush(Message::new(Datagram::new("x", peer)))
        };
        let error = loop {
            if let Err(error) = to("full").sync_timeout(DEADLINE) {
                break error;
            }
        };
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::Exhausted, Fault::Machine),
            "{error}"
        );
        assert!(error.to_string().contains("queue"), "{error}");
        ok(to("other"));
        other.recv(&mut [0; 1]).unwrap();
        full.recv(&mut [0; 1]).unwrap();
        ok(to("full"));
    });
}

/// Empty, too long, without a sender's name, of bytes that no decoder takes.
#[test]
fn no_datagram_stops_the_channel() {
    with_each_group(|group, folder| {
        let (bootstrap, seen) = bootstrap(group);
        let bound = bootstrap
            .option(MAX_DATAGRAM_PAYLOAD_SIZE, 100)
            .bind(folder.path("server"));
        let server = ok(bound);
        active(&seen);
        let nameless = PlainDatagram::unbound().unwrap();
        let named = plain(&folder.path("client"));
        let send = |socket: &PlainDatagram, bytes: &[u8]| {
            socket.send_to(bytes, folder.path("server")).unwrap();
        };
        send(&nameless, b"");
        let empty = read(&seen);
        assert_eq!(
            (empty.content.len(), empty.peer),
            (0, UnixAddress::Unnamed.into())
        );
        send(&named, &[1; 101]);
        let long = error(&seen);
        assert_eq!(
            (long.kind(), long.fault()),
            (ErrorKind::TooLong, Fault::Peer)
        );
        send(&named, &[1; 100]);
        assert_eq!(read(&seen).content.len(), 100);
        // Nobody can answer to no name; that is the error of the answer.
        let answer = Datagram::new("x", UnixAddress::Unnamed);
        let error = failed(server.write_and_flush(Message::new(answer)));
        assert_ne!(error.fault(), Fault::Us, "{error}");
        send(&named, b"still there");
        assert_eq!(read(&seen).content, "still there");
    });
}

/// Rules: C21
#[test]
fn a_failed_send_fails_its_own_write_alone() {
    with_each_group(|group, folder| {
        let (sender, _) = receiver(group, &folder.path("sender"));
        let peer = plain(&folder.path("peer"));
        let stale = folder.path("stale");
        drop(PlainDatagram::bind(&stale).unwrap());
        let to = |name: &str, bytes: &'static [u8]| {
            let peer = UnixAddress::path(folder.path(name));
            sender.write_future(Message::new(Datagram::new(bytes, peer)))
        };
        let huge = Box::leak(vec![0; 4 << 20].into_boxed_slice());
        let sent = [
            to("peer", b"one"),
            to("none", b"x"),
            to("stale", b"x"),
            to("peer", huge),
            to("peer", b"two"),
        ];
        sender.flush();
        let kinds = sent.map(|sent| {
            sent.sync_timeout(DEADLINE)
                .map_err(|error| error.kind())
                .err()
        });
        assert_eq!(
            kinds,
            [
                None,
                Some(ErrorKind::NotFound),
                Some(ErrorKind::ConnectRefused),
                Some(ErrorKind::InvalidArgument),
                None
            ]
        );
        for expected in [b"one", b"two"] {
            let mut buffer = [0; 8];
            let count = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], expected);
        }
    });
}

#[test]
fn descriptors_come_in_front_of_their_datagram() {
    with_each_group(|group, folder| {
        let (sender, _) = receiver(group, &folder.path("sender"));
        let (_receiver, seen) = receiver(group, &folder.path("receiver"));
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let datagram = |bytes: &'static str| {
            let peer = UnixAddress::path(folder.path("receiver"));
            Message::new(Datagram::new(bytes, peer))
        };
        sender.write(datagram("before"));
        sender.write(Descriptors::from(writer.try_clone().unwrap()));
        sender.write(datagram("with"));
        ok(sender.write_and_flush(datagram("behind")));
        assert_eq!(read(&seen).content, "before");
        let Seen::Read(came) = next(&seen) else {
            panic!("descriptors")
        };
        assert_eq!(came.downcast::<Descriptors>().unwrap().len(), 1);
        assert_eq!(read(&seen).content, "with");
        assert_eq!(read(&seen).content, "behind");
        // With nothing behind them, or with what can't be sent: both fail, and nothing is left behind.
        let alone = failed(sender.write_and_flush(Descriptors::from(writer.try_clone().unwrap())));
        assert_eq!(alone.kind(), ErrorKind::InvalidArgument);
        let with = sender.write_future(Descriptors::from(writer));
        let nowhere = UnixAddress::path(folder.path("none"));
        let datagram = sender.write_and_flush(Message::new(Datagram::new("x", nowhere)));
        assert_eq!(failed(with).kind(), ErrorKind::NotFound);
        assert_eq!(failed(datagram).kind(), ErrorKind::NotFound);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
}

/// A flush that ends at its limit does not come between descriptors and their datagram.
#[test]
fn a_limit_of_messages_does_not_part_descriptors_from_their_datagram() {
    with_each_group(|group, folder| {
        let (receiver, seen) = receiver(group, &folder.path("receiver"));
        let (bootstrap, _) = bootstrap(group);
        let sender = ok(bootstrap
            .option(MAX_MESSAGES_PER_WRITE, 1)
            .connect(folder.path("receiver")));
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        for _ in 0..3 {
            sender.write("plain");
            sender.write(Descriptors::from(writer.try_clone().unwrap()));
            sender.write("with");
        }
        ok(sender.write_and_flush("last"));
        for _ in 0..3 {
            assert_eq!(read(&seen).content, "plain");
            match next(&seen) {
                Seen::Read(came) => assert_eq!(came.downcast::<Descriptors>().unwrap().len(), 1),
                other => panic!("descriptors, not {other:?}"),
            }
            assert_eq!(read(&seen).content, "with");
        }
        assert_eq!(read(&seen).content, "last");
        ok(sender.close());
        ok(receiver.close());
    });
}

#[test]
fn a_fixed_receive_allocator_is_the_room_for_one_datagram() {
    with_each_group(|group, folder| {
        let (bootstrap, seen) = bootstrap(group);
        let sizes = RecvAllocator::Fixed(20_000);
        let receiver = ok(bootstrap
            .option(RECV_ALLOCATOR, sizes)
            .bind(folder.path("receiver")));
        active(&seen);
        let read_back = receiver.option(RECV_ALLOCATOR).sync_timeout(DEADLINE);
        assert_eq!(read_back.unwrap(), sizes);
        let sender = plain(&folder.path("sender"));
        sender
            .send_to(&[7; 20_000], folder.path("receiver"))
            .unwrap();
        assert_eq!(read(&seen).content.len(), 20_000);
        ok(receiver.close());
    });
}

/// Nobody takes them here: what is too long is dropped with what came along.
#[test]
fn descriptors_of_a_datagram_that_is_dropped_are_closed() {
    with_each_group(|group, folder| {
        let (bootstrap, seen) = bootstrap(group);
        ok(bootstrap
            .option(MAX_DATAGRAM_PAYLOAD_SIZE, 10)
            .bind(folder.path("server")));
        active(&seen);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let socket = PlainDatagram::unbound().unwrap();
        let peer = UnixAddress::path(folder.path("server"));
        let outgoing = Outgoing {
            slices: &[std::io::IoSlice::new(&[0; 11])],
            peer: Some(&peer),
            segment: None,
            local: None,
            descriptors: &[writer.as_fd()],
        };
        net::send_many(socket.as_fd(), &[outgoing]).unwrap();
        drop(writer);
        assert_eq!(error(&seen).kind(), ErrorKind::TooLong);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_peer_can_be_chosen_and_given_up_again() {
    with_each_group(|group, folder| {
        let (channel, _) = receiver(group, &folder.path("channel"));
        let peer = plain(&folder.path("peer"));
        let unconnected = failed(channel.write_and_flush("nobody"));
        assert_eq!(unconnected.kind(), ErrorKind::Unsupported);
        let address = UnixAddress::path(folder.path("peer"));
        ok(channel.connect(address.clone(), None));
        ok(channel.write_and_flush("somebody"));
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 8);
        ok(channel.disconnect());
        assert!(channel.is_active());
        ok(channel.write_and_flush(Message::new(Datagram::new("again", address))));
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 5);
    });
}

#[test]
fn a_stale_file_of_datagrams_is_removed_and_a_live_one_not() {
    with_each_group(|group, folder| {
        let path = folder.path("log");
        drop(PlainDatagram::bind(&path).unwrap());
        let (eager, _) = bootstrap(group);
        let eager = eager.option(UNLINK_STALE, true);
        let first = ok(eager.bind(&path));
        assert_eq!(failed(eager.bind(&path)).kind(), ErrorKind::AddrInUse);
        PlainDatagram::unbound()
            .unwrap()
            .send_to(b"x", &path)
            .unwrap();
        ok(first.close());
        let gone = PlainDatagram::unbound().unwrap().send_to(b"x", &path);
        assert_eq!(gone.unwrap_err().kind(), IoErrorKind::NotFound);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_without_a_name_of_its_own_gets_one() {
    with_each_group(|group, folder| {
        let (server, asked) = receiver(group, &folder.path("server"));
        let (bootstrap, seen) = bootstrap(group);
        let client = ok(bootstrap.bind(UnixAddress::Unnamed));
        active(&seen);
        let to = UnixAddress::path(folder.path("server"));
        ok(client.write_and_flush(Message::new(Datagram::new("who", to))));
        let question = read(&asked);
        assert!(matches!(
            question.peer.as_unix(),
            Some(UnixAddress::Abstract(_))
        ));
        ok(server.write_and_flush(Message::new(question.reply("you"))));
        assert_eq!(read(&seen).content, "you");
        let none = client.option(SO_PEERCRED).sync_timeout(DEADLINE);
        assert_eq!(none.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}

/// Decoders take the contents of datagrams, and errors of one stay with it.
#[test]
fn an_undecodable_datagram_does_not_stop_the_next() {
    use tidegate::channel::{Context, Handler, HandlerResult};

    struct Contents;

    impl Handler for Contents {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            let datagram = msg.downcast::<Datagram>().expect("a datagram");
            ctx.fire_channel_read(Message::new(datagram.content));
            Ok(())
        }
    }

    with_each_group(|group, folder| {
        let (tell, seen) = Probe::channel();
        let bootstrap =
            Bootstrap::new(group)
                .transport::<UnixDatagram>()
                .handler(move |pipeline| {
                    pipeline.add_last(Contents)?;
                    pipeline.add_last(StringDecoder::new(LineDecoder::new(8)))?;
                    pipeline.add_last(Probe(tell.clone()))
                });
        ok(bootstrap.bind(folder.path("server")));
        active(&seen);
        let client = PlainDatagram::unbound().unwrap();
        let send = |bytes: &[u8]| client.send_to(bytes, folder.path("server")).unwrap();
        send(b"\xff\xfe\n");
        error(&seen);
        send(b"longer than eight\n");
        error(&seen);
        send(b"good\n");
        match next(&seen) {
            Seen::Read(msg) => assert_eq!(msg.downcast::<String>().unwrap(), "good"),
            other => panic!("a line, not {other:?}"),
        }
    });
}
