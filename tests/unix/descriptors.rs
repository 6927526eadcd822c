//! Descriptors as messages of a stream: in order with the bytes, closed where nobody takes them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as PlainStream;

use tidegate::transport::unix::{DESCRIPTORS_MAX, Descriptors, RECEIVE_DESCRIPTORS};
use tidegate::{ErrorKind, Message};
use tidegate_sys::os::net::unix;

use crate::support::*;

/// The reading end of a pipe tells when the last duplicate of the writing one is closed.
fn pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, writer.into())
}

fn descriptors(msg: Message) -> Descriptors {
    msg.downcast().expect("descriptors")
}

fn read(seen: &std::sync::mpsc::Receiver<Seen>) -> Message {
    match next(seen) {
        Seen::Read(msg) => msg,
        other => panic!("a message, not {other:?}"),
    }
}

#[test]
fn descriptors_come_in_front_of_their_bytes_and_work() {
    with_each_group(|group, folder| {
        let (client, _, _child, served) = connected(group, folder.path("fds"), |server| server);
        let (mut reader, writer) = pipe();
        client.write("before ");
        client.write(Descriptors::from(writer).with_bytes("with "));
        ok(client.write_and_flush("behind"));
        let mut bytes = Vec::new();
        let mut came = None;
        while bytes.len() < 18 {
            let msg = read(&served);
            match msg.as_bytes() {
                Some(more) => bytes.extend_from_slice(more),
                None => {
                    assert!(
                        bytes.len() <= 7,
                        "in front of the bytes that they came with"
                    );
                    came = Some(descriptors(msg));
                }
            }
        }
        assert_eq!(bytes, b"before with behind");
        let came: Vec<OwnedFd> = came.expect("descriptors").into_iter().collect();
        let [writer] = <[OwnedFd; 1]>::try_from(came).expect("one");
        File::from(writer).write_all(b"through the pipe").unwrap();
        let mut text = String::new();
        // The end comes although the sender is alive: it has closed its own.
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the pipe");
    });
}

/// What was read can be written as it came: descriptors go with the bytes behind them.
#[test]
fn an_echo_sends_descriptors_back() {
    with_each_group(|group, folder| {
        let path = folder.path("echo");
        ok(server(group, || Echo).bind(&path));
        let (bootstrap, seen) = client(group);
        let client = ok(bootstrap.connect(&path));
        active(&seen);
        let (mut reader, writer) = pipe();
        ok(client.write_and_flush(Descriptors::from(writer).with_bytes("and back")));
        let came = descriptors(read(&seen));
        assert_eq!((came.len(), came.bytes().len()), (1, 0));
        assert_eq!(read_exactly(&seen, 8), b"and back");
        drop(came);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn as_many_as_one_message_has_room_for_and_no_more() {
    with_each_group(|group, folder| {
        let (client, _, child, served) = connected(group, folder.path("many"), |server| server);
        let many = |count| {
            let (_, writer) = pipe();
            let copies = (0..count).map(|_| writer.try_clone().expect("a descriptor"));
            Descriptors::from_iter(copies).with_bytes("x")
        };
        ok(client.write_and_flush(many(DESCRIPTORS_MAX)));
        assert_eq!(descriptors(read(&served)).len(), DESCRIPTORS_MAX);
        let error = failed(client.write_and_flush(many(DESCRIPTORS_MAX + 1)));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        ok(child.close());
    });
}

#[test]
fn descriptors_without_a_byte_are_refused_and_closed() {
    with_each_group(|group, folder| {
        let (client, _, _child, served) = connected(group, folder.path("none"), |server| server);
        let (mut reader, writer) = pipe();
        let error = failed(client.write_and_flush(Descriptors::from(writer)));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("with_bytes"), "{error}");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        // The connection is as before.
        ok(client.write_and_flush("goes on"));
        assert_eq!(read_exactly(&served, 7), b"goes on");
    });
}

/// Large payloads go in parts; the descriptors go with the first.
#[test]
fn a_full_socket_sends_descriptors_once() {
    with_each_group(|group, folder| {
        let (client, _, _child, served) = connected(group, folder.path("parts"), |server| server);
        let large = vec![7; 1 << 20];
        let mut pipes = Vec::new();
        for _ in 0..4 {
            let (reader, writer) = pipe();
            pipes.push(reader);
            client.write(Descriptors::from(writer).with_bytes(large.clone()));
        }
        client.flush();
        let (mut came, mut bytes) = (0, 0);
        while bytes < 4 << 20 {
            let msg = read(&served);
            match msg.as_bytes() {
                Some(more) => bytes += more.len(),
                None => came += descriptors(msg).len(),
            }
        }
        assert_eq!((came, bytes), (4, 4 << 20));
        for mut reader in pipes {
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        }
    });
}

/// A read ends behind a message with descriptors, also if nobody wants those: what stands behind must be read all the same.
#[test]
fn descriptors_that_are_not_wanted_are_closed_and_their_bytes_come() {
    with_each_group(|group, folder| {
        let path = folder.path("unwanted");
        let (tell, served) = Probe::channel();
        let bootstrap = server(group, move || Probe(tell.clone()));
        ok(bootstrap
            .child_option(RECEIVE_DESCRIPTORS, false)
            .bind(&path));
        let peer = PlainStream::connect(&path).unwrap();
        let child = active(&served);
        let is_on = child.option(RECEIVE_DESCRIPTORS);
        assert!(!is_on.sync_timeout(DEADLINE).unwrap());
        let (mut reader, writer) = pipe();
        for _ in 0..3 {
            unix::send_with_descriptors(peer.as_fd(), b"x", &[writer.as_fd()]).unwrap();
        }
        (&peer).write_all(b"yz").unwrap();
        assert_eq!(read_exactly(&served, 5), b"xxxyz");
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
}

/// Bytes that were read with descriptors wait with the channel while reading is paused.
#[test]
fn reading_that_is_paused_between_descriptors_and_bytes_goes_on_there() {
    use tidegate::channel::{Context, Handler, HandlerResult};

    struct Pausing(Probe);

    impl Handler for Pausing {
        fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            self.0.channel_active(ctx)
        }

        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            if msg.is::<Descriptors>() {
                ctx.channel().set_auto_read(false);
            }
            self.0.channel_read(ctx, msg)
        }
    }

    with_each_group(|group, folder| {
        let path = folder.path("paused");
        let (tell, served) = Probe::channel();
        ok(server(group, move || Pausing(Probe(tell.clone()))).bind(&path));
        let (bootstrap, _) = client(group);
        let client = ok(bootstrap.connect(&path));
        let child = active(&served);
        let (_reader, writer) = pipe();
        ok(client.write_and_flush(Descriptors::from(writer).with_bytes("later")));
        assert_eq!(descriptors(read(&served)).len(), 1);
        // The loop has had its turns and told nothing.
        child
            .event_loop()
            .submit(|| ())
            .sync_timeout(DEADLINE)
            .unwrap();
        assert!(served.try_recv().is_err());
        child.set_auto_read(true);
        assert_eq!(read_exactly(&served, 5), b"later");
    });
}
