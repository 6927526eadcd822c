//! Channels over anything that reads and writes.

use std::io::{self, Cursor, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::buffer::FileRegion;
use tidegate::channel::options::{
    ALLOW_HALF_CLOSURE, AUTO_CLOSE, AUTO_READ, CLOSE_ON_UNHANDLED_ERROR,
};
use tidegate::transport::oio::{self, Descriptor, Stream};
use tidegate::{Channel, ErrorKind};

use crate::support::{DEADLINE, Group, Probe, Seen, next, no_threads, until};

/// A channel over these two, and what it sees.
fn open(
    group: &Group,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> (Channel, Receiver<Seen>) {
    open_with(group, Channel::builder(), input, output)
}

fn open_with(
    group: &Group,
    builder: tidegate::channel::ChannelBuilder,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> (Channel, Receiver<Seen>) {
    let (tell, seen) = mpsc::channel();
    let channel = builder
        .open_on(
            &group.loops.next(),
            move || Stream::new("a test", input, output),
            move |pipeline| pipeline.add_last(Probe(tell)),
        )
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(next(&seen), Seen::Active);
    (channel, seen)
}

/// Answers reads with what the test says, and counts them.
struct Script {
    answers: Receiver<io::Result<&'static str>>,
    asked: Sender<()>,
}

impl Read for Script {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let _ = self.asked.send(());
        match self.answers.recv() {
            Ok(Ok(text)) => {
                room[..text.len()].copy_from_slice(text.as_bytes());
                Ok(text.len())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(0),
        }
    }
}

type Answers = Sender<io::Result<&'static str>>;

fn script() -> (Script, Answers, Receiver<()>) {
    let (answer, answers) = mpsc::channel();
    let (asked, asks) = mpsc::channel();
    (Script { answers, asked }, answer, asks)
}

/// Keeps what is written where the test can see it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A little of it, as pipes may.
        let count = bytes.len().min(7);
        self.0.lock().unwrap().extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().push(b'|');
        Ok(())
    }
}

#[test]
fn a_file_is_read_to_its_end() {
    let group = Group::new();
    let contents: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (channel, seen) = open(&group, Cursor::new(contents.clone()), io::sink());
    let mut got = Vec::new();
    loop {
        match next(&seen) {
            Seen::Read(bytes) => got.extend(bytes),
            Seen::Inactive => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(got == contents);
    channel.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Rules: D3
#[test]
fn no_read_is_made_that_nobody_asked_for() {
    let group = Group::new();
    let (source, answer, asks) = script();
    let (channel, seen) = open_with(
        &group,
        Channel::builder().option(AUTO_READ, false),
        source,
        io::sink(),
    );
    answer.send(Ok("one")).unwrap();
    answer.send(Ok("two")).unwrap();
    channel.write_and_flush("x").sync_timeout(DEADLINE).unwrap();
    assert!(asks.try_recv().is_err());
    channel.read();
    assert_eq!(next(&seen), Seen::Read(b"one".to_vec()));
    // A turn later there still was one.
    channel.write_and_flush("x").sync_timeout(DEADLINE).unwrap();
    assert_eq!(asks.try_iter().count(), 1);
    channel.read();
    assert_eq!(next(&seen), Seen::Read(b"two".to_vec()));
    drop(answer);
    channel.close().sync_timeout(DEADLINE).unwrap();
}

#[test]
fn a_read_that_has_nothing_yet_is_tried_again() {
    let group = Group::new();
    let (source, answer, _asks) = script();
    let (_channel, seen) = open(&group, source, io::sink());
    for kind in [
        io::ErrorKind::TimedOut,
        io::ErrorKind::Interrupted,
        io::ErrorKind::WouldBlock,
    ] {
        answer.send(Err(kind.into())).unwrap();
    }
    answer.send(Ok("at last")).unwrap();
    assert_eq!(next(&seen), Seen::Read(b"at last".to_vec()));
    answer.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    assert!(matches!(next(&seen), Seen::Error(text) if text.contains("reading from a test")));
    assert_eq!(next(&seen), Seen::Inactive);
}

#[test]
fn a_source_that_panics_ends_its_channel_and_nothing_else() {
    struct Bomb;
    impl Read for Bomb {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("on purpose");
        }
    }
    let group = Group::new();
    let (channel, seen) = open(&group, Bomb, io::sink());
    assert!(matches!(next(&seen), Seen::Error(text) if text.contains("panicked: on purpose")));
    assert_eq!(next(&seen), Seen::Inactive);
    channel.close_future().sync_timeout(DEADLINE).unwrap();
    let (_channel, seen) = open(&group, &b"fine"[..], io::sink());
    assert_eq!(next(&seen), Seen::Read(b"fine".to_vec()));
}

/// Rules: C14, C20
#[test]
fn writes_come_out_in_order_and_each_batch_is_flushed() {
    let group = Group::new();
    let kept = Kept::default();
    let (source, answer, _asks) = script();
    let (channel, _seen) = open(&group, source, kept.clone());
    let path = std::env::temp_dir().join(format!("tidegate-stream-{}", std::process::id()));
    std::fs::write(&path, "of a file").unwrap();
    channel.write("some ");
    channel.write("");
    channel.write(FileRegion::whole(&path).unwrap());
    channel
        .write_and_flush(" and bytes")
        .sync_timeout(DEADLINE)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(*kept.0.lock().unwrap(), b"some of a file and bytes|");
    drop(answer);
}

/// Rules: A44
#[test]
fn a_failed_write_ends_the_output_alone_if_the_channel_is_to_live() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let group = Group::new();
    let (source, answer, _asks) = script();
    let (channel, seen) = open_with(
        &group,
        Channel::builder()
            .option(AUTO_CLOSE, false)
            .option(CLOSE_ON_UNHANDLED_ERROR, false),
        source,
        Full,
    );
    let error = channel
        .write_and_flush("x")
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert!(
        error.to_string().contains("writing to a test")
            || error.kind() == ErrorKind::OutputShutdown,
        "{error}"
    );
    assert_eq!(next(&seen), Seen::Event("ChannelOutputShutdown".to_owned()));
    answer.send(Ok("still here")).unwrap();
    assert_eq!(next(&seen), Seen::Read(b"still here".to_vec()));
    drop(answer);
    assert_eq!(next(&seen), Seen::Inactive);
}

#[test]
fn ending_the_output_drops_it() {
    let group = Group::new();
    let (mut reader, writer) = io::pipe().unwrap();
    let (source, answer, _asks) = script();
    let (channel, seen) = open(&group, source, writer);
    channel
        .write_and_flush("all of it")
        .sync_timeout(DEADLINE)
        .unwrap();
    channel.shutdown_output().sync_timeout(DEADLINE).unwrap();
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    assert_eq!(got, "all of it");
    answer.send(Ok("and in")).unwrap();
    assert_eq!(next(&seen), Seen::Event("ChannelOutputShutdown".to_owned()));
    assert_eq!(next(&seen), Seen::Read(b"and in".to_vec()));
    drop(answer);
}

/// Where it is dropped is sent to the test.
struct Tells(Sender<String>);

impl Write for Tells {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let _ = self.0.send(name);
    }
}

/// What is buffered in it goes out when it is dropped, which may take as long as a write: not on the loop.
#[test]
fn an_output_to_which_nothing_was_written_is_dropped_on_its_thread_too() {
    let group = Group::new();
    let ends: [fn(&Channel) -> tidegate::ChannelFuture; 2] =
        [Channel::shutdown_output, Channel::close];
    for end in ends {
        let (source, answer, _asks) = script();
        let (tell, told) = mpsc::channel();
        let (channel, _seen) = open(&group, source, Tells(tell));
        end(&channel).sync_timeout(DEADLINE).unwrap();
        let thread = told.recv_timeout(DEADLINE).unwrap();
        assert!(thread.starts_with("oio-write-"), "{thread}");
        drop(answer);
        channel.close().sync_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn ending_the_input_is_an_end_also_while_a_read_waits() {
    let group = Group::new();
    let (source, answer, asks) = script();
    let (channel, seen) = open_with(
        &group,
        Channel::builder().option(ALLOW_HALF_CLOSURE, true),
        source,
        io::sink(),
    );
    asks.recv_timeout(DEADLINE).unwrap();
    channel.shutdown_input().sync_timeout(DEADLINE).unwrap();
    assert_eq!(next(&seen), Seen::Event("ChannelInputShutdown".to_owned()));
    channel.write_and_flush("x").sync_timeout(DEADLINE).unwrap();
    drop(answer);
}

#[test]
fn a_pipe_with_a_time_out_lets_its_thread_end() {
    let group = Group::new();
    let (reader, mut far) = io::pipe().unwrap();
    let (mut out, writer) = io::pipe().unwrap();
    let short = Duration::from_millis(5);
    let input = Descriptor::new(OwnedFd::from(reader)).timeout(short);
    let output = Descriptor::new(OwnedFd::from(writer)).timeout(short);
    let (channel, seen) = open(&group, input, output);
    far.write_all(b"in").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"in".to_vec()));
    // More than a pipe holds, so that the thread has to wait for its reader.
    let sent = vec![7; 300_000];
    let written = channel.write_and_flush(sent.clone());
    let mut got = vec![0; sent.len()];
    out.read_exact(&mut got).unwrap();
    assert!(got == sent);
    written.sync_timeout(DEADLINE).unwrap();
    // And here it waits for nobody, and ends all the same.
    channel.write_and_flush(sent);
    until("the thread writes", || oio::threads() == 2);
    channel.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}

#[test]
fn a_writer_without_a_reader_is_an_error_and_no_signal() {
    let group = Group::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (source, answer, _asks) = script();
    let (channel, _seen) = open(&group, source, Descriptor::new(OwnedFd::from(writer)));
    let error = channel
        .write_and_flush("x")
        .sync_timeout(DEADLINE)
        .unwrap_err();
    assert_eq!(error.io_kind(), Some(io::ErrorKind::BrokenPipe), "{error}");
    drop(answer);
    channel.close_future().sync_timeout(DEADLINE).unwrap();
}

/// Any socket of the standard library is one more thing that reads and writes.
#[test]
fn both_directions_of_a_socket_work_at_once() {
    let group = Group::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    let halves = (near.try_clone().unwrap(), near.try_clone().unwrap());
    let (tell, seen) = mpsc::channel();
    let channel = Channel::builder()
        .open_on(
            &group.loops.next(),
            move || {
                Stream::new("a pair", halves.0, halves.1).interrupt(move || {
                    let _ = near.shutdown(std::net::Shutdown::Both);
                })
            },
            move |pipeline| pipeline.add_last(Probe(tell)),
        )
        .sync_timeout(DEADLINE)
        .unwrap();
    assert_eq!(next(&seen), Seen::Active);
    channel
        .write_and_flush("ping")
        .sync_timeout(DEADLINE)
        .unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    far.write_all(b"pong").unwrap();
    assert_eq!(next(&seen), Seen::Read(b"pong".to_vec()));
    channel.close().sync_timeout(DEADLINE).unwrap();
    no_threads();
}
