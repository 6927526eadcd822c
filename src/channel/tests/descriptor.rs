//! Readiness of a real descriptor, on every selector that this machine has.

use std::io::{ErrorKind as IoKind, Read as _, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;
use crate::buffer::RecvAllocator;
use crate::channel::options::{AUTO_READ, RECV_ALLOCATOR};
use crate::event_loop::{Backend, LocalEventLoop};

/// One end of a pair of sockets, without any cleverness: an empty read is found out by reading.
struct Socket(UnixStream);

impl Transport for Socket {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "socket",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        true
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn accepts(&self, msg: &Message) -> bool {
        msg.as_bytes().is_some()
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let fd = self.0.as_fd();
        match io.read_bytes(|buf, max| tidegate_sys::os::io::read_into(fd, buf, max)) {
            Ok(read) if read.bytes.is_empty() => Ok(Read::Eof),
            Ok(read) => Ok(Read::Message(read.bytes.into())),
            Err(error) if error.kind() == IoKind::WouldBlock => Ok(Read::WouldBlock),
            Err(error) => Err(Error::io("reading", error)),
        }
    }

    fn flush(&mut self, _: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        while let Some(bytes) = out.front_bytes() {
            match tidegate_sys::os::io::write(self.0.as_fd(), bytes) {
                Ok(written) => drop(out.advance(written)),
                Err(error) if error.kind() == IoKind::WouldBlock => return Ok(Flush::Blocked),
                Err(error) => return Err(Error::io("writing", error)),
            }
        }
        Ok(Flush::Drained)
    }

    fn shutdown(&mut self, _: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        let how = if direction == Direction::Input {
            Shutdown::Read
        } else {
            Shutdown::Write
        };
        self.0
            .shutdown(how)
            .map_err(|error| Error::io("shutting one direction", error))
    }

    fn close(&mut self, _: &mut Io<'_>) -> Result<Progress, Error> {
        let _ = self.0.shutdown(Shutdown::Both);
        Ok(Progress::Done)
    }
}

/// A channel, its peer, and the loop that the test turns.
struct Pair {
    lp: LocalEventLoop,
    channel: Channel,
    peer: UnixStream,
    log: Log,
}

impl Pair {
    fn new(backend: Backend) -> Self {
        let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("a nonblocking socket");
        let lp = LocalEventLoop::builder()
            .selector(backend)
            .build()
            .expect("a loop");
        let log = Log::default();
        let opened = lp.block_on(async {
            let core = LoopCore::current().expect("inside of a turn");
            open_on(&core, Box::new(Socket(ours)), &log).1
        });
        let channel = opened.expect("the loop runs");
        let pair = Self {
            lp,
            channel,
            peer,
            log,
        };
        pair.turn();
        pair.log.take();
        pair
    }

    fn paused(backend: Backend) -> Self {
        let pair = Self::new(backend);
        let set = pair.channel.set_option(AUTO_READ, false);
        pair.until(|| set.is_success());
        pair
    }

    /// Everything that can be done now.
    fn turn(&self) {
        for _ in 0..4 {
            self.lp.turn(Some(Duration::ZERO));
        }
    }

    fn until(&self, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(
                begun.elapsed() < DEADLINE,
                "it never came; the log is {:?}",
                self.log.take()
            );
            self.lp.turn(Some(Duration::from_millis(10)));
        }
    }

    /// Turns until the log has a line, and gives it all.
    fn until_logged(&self, line: &str) -> Vec<String> {
        let mut lines = Vec::new();
        self.until(|| {
            lines.extend(self.log.take());
            lines.iter().any(|logged| logged == line)
        });
        lines
    }
}

fn on_every_selector(test: impl Fn(Backend)) {
    for backend in Backend::available() {
        test(*backend);
    }
}

/// Rules: A38, A39
///
/// Section 12: data and end of input stay in the kernel until read(), and the pipeline is told once.
#[test]
fn a_peer_that_closes_while_reading_is_paused_is_told_once() {
    on_every_selector(|backend| {
        let mut pair = Pair::paused(backend);
        pair.peer.write_all(b"data").unwrap();
        pair.peer.shutdown(Shutdown::Both).unwrap();
        assert_eq!(
            pair.until_logged("event PeerClosing"),
            ["event PeerClosing"],
            "{backend}"
        );
        pair.turn();
        assert_eq!(pair.log.take(), [""; 0], "{backend}");
        assert!(pair.channel.is_active());
        pair.channel.read();
        let lines = pair.until_logged("read data");
        assert!(
            !lines.contains(&"inactive".to_string()),
            "{backend}: {lines:?}"
        );
        pair.channel.set_auto_read(true);
        let lines = pair.until_logged("removed");
        assert_eq!(lines, ["inactive", "unregistered", "removed"], "{backend}");
    });
}

/// Rules: A38, A35
#[test]
fn data_before_the_peers_end_is_always_delivered() {
    on_every_selector(|backend| {
        let mut pair = Pair::new(backend);
        pair.peer.write_all(b"last words").unwrap();
        pair.peer.shutdown(Shutdown::Both).unwrap();
        let lines = pair.until_logged("removed");
        assert_eq!(
            lines,
            ["read last words", "inactive", "unregistered", "removed"],
            "{backend}"
        );
    });
}

/// Rules: 4.5, D3
///
/// Wasted edges end in one change of the mask; read() takes it back and nothing was lost.
#[test]
fn a_paused_channel_is_not_woken_for_ever_and_loses_nothing() {
    on_every_selector(|backend| {
        let mut pair = Pair::paused(backend);
        for _ in 0..200 {
            pair.peer.write_all(b"x").unwrap();
            pair.lp.turn(Some(Duration::ZERO));
        }
        let events = pair.lp.handle().metrics().events;
        assert!(
            events < 40,
            "{backend}: {events} events for a channel that does not read"
        );
        // By level the interest is taken back at the first of them, which is the ordinary way there.
        let masks = u64::from(matches!(backend, Backend::Epoll | Backend::Kqueue));
        assert_eq!(pair.lp.handle().metrics().read_masks, masks, "{backend}");
        assert_eq!(pair.log.take(), [""; 0]);
        pair.channel.set_auto_read(true);
        let mut read = 0;
        pair.until(|| {
            read += pair
                .log
                .take()
                .iter()
                .map(|line| line.matches('x').count())
                .sum::<usize>();
            read == 200
        });
        pair.peer.write_all(b"again").unwrap();
        pair.until_logged("read again");
    });
}

/// Rules: C9, A41
///
/// A level-triggered selector must not go on reporting that a shut output could be written.
#[test]
fn an_output_that_was_shut_while_blocked_wakes_nobody() {
    on_every_selector(|backend| {
        let pair = Pair::new(backend);
        let write = pair.channel.write_and_flush(vec![0; 8 << 20]);
        pair.turn();
        assert!(!write.is_done(), "the peer does not read");
        let shut = pair.channel.shutdown_output();
        pair.until(|| shut.is_done());
        assert!(shut.is_success());
        assert_eq!(kind(&write), ErrorKind::OutputShutdown, "{backend}");
        // From here on the socket could be written, if anybody wanted to.
        let (mut got, mut buf) = (1, vec![0; 1 << 16]);
        while got > 0 {
            got = (&pair.peer).read(&mut buf).unwrap();
        }
        let before = pair.lp.handle().metrics().events;
        for _ in 0..20 {
            pair.lp.turn(Some(Duration::ZERO));
        }
        let events = pair.lp.handle().metrics().events - before;
        assert!(events < 5, "{backend}: {events} events in 20 turns");
        assert!(pair.channel.is_active());
    });
}

/// The same event says that the connection is gone; there is nothing left to read an errno from then.
///
/// Rules: A30, A44
#[test]
fn a_blocked_write_that_finds_the_connection_gone_is_the_only_error() {
    on_every_selector(|backend| {
        let pair = Pair::new(backend);
        let write = pair.channel.write_and_flush(vec![0; 8 << 20]);
        pair.turn();
        assert!(!write.is_done(), "the peer does not read");
        assert_eq!(pair.log.take(), ["unwritable"]);
        let Pair {
            lp,
            channel,
            peer,
            log,
        } = pair;
        drop(peer);
        while !channel.close_future().is_done() {
            lp.turn(Some(DEADLINE));
        }
        lp.turn(Some(Duration::ZERO));
        assert_eq!(kind(&write), ErrorKind::ConnectionReset, "{backend}");
        assert_eq!(log.take(), ["inactive", "unregistered", "removed"]);
        assert_eq!(lp.handle().metrics().unhandled_errors, 0, "{backend}");
    });
}

/// Rules: C11, C9
#[test]
fn what_a_full_socket_did_not_take_goes_on_when_the_peer_reads() {
    on_every_selector(|backend| {
        let pair = Pair::new(backend);
        let write = pair.channel.write_and_flush(vec![7; 4 << 20]);
        pair.peer.set_nonblocking(true).unwrap();
        let (mut got, mut buf) = (0, vec![0; 1 << 16]);
        pair.until(|| {
            while let Ok(read) = (&pair.peer).read(&mut buf) {
                assert!(buf[..read].iter().all(|byte| *byte == 7));
                got += read;
            }
            got == 4 << 20
        });
        pair.until(|| write.is_success());
    });
}

/// Writes down how long each message is, and where a batch ends.
struct Sizes(Log);

impl Handler for Sizes {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.add(msg.readable_bytes().unwrap_or_default());
        Ok(())
    }

    fn channel_read_complete(&mut self, _: &mut Context<'_>) -> HandlerResult {
        self.0.add("complete");
        Ok(())
    }
}

/// What is read, batch by batch, of `bytes` that wait when reading begins.
fn batches(backend: Backend, allocator: RecvAllocator, bytes: usize) -> Vec<Vec<usize>> {
    let mut pair = Pair::paused(backend);
    let log = Log::default();
    let sizes = log.clone();
    let edit = pair
        .channel
        .edit(move |pipeline| pipeline.add_first(Sizes(sizes)));
    let set = pair.channel.set_option(RECV_ALLOCATOR, allocator);
    pair.peer.write_all(&vec![0; bytes]).unwrap();
    pair.until(|| edit.is_done() && set.is_success());
    log.take();
    pair.channel.set_auto_read(true);
    let (mut batches, mut batch, mut total) = (Vec::new(), Vec::new(), 0);
    pair.until(|| {
        for line in log.take() {
            if let Ok(size) = line.parse::<usize>() {
                batch.push(size);
                total += size;
            } else {
                batches.push(std::mem::take(&mut batch));
            }
        }
        total == bytes && batch.is_empty()
    });
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Rules: D10, D4
#[test]
fn a_budget_of_bytes_ends_a_batch() {
    on_every_selector(|backend| {
        let budget = RecvAllocator::MaxBytes {
            per_loop: 100,
            per_read: 40,
        };
        let batches = batches(backend, budget, 250);
        assert_eq!(
            batches,
            [vec![40, 40, 20], vec![40, 40, 20], vec![40, 10]],
            "{backend}"
        );
    });
}

/// Rules: D10, D8
#[test]
fn a_fixed_size_is_what_every_read_asks_for() {
    on_every_selector(|backend| {
        let batches = batches(backend, RecvAllocator::Fixed(10), 175);
        assert_eq!(batches[0], [10; 16], "{backend}: sixteen reads a batch");
        assert_eq!(batches[1], [10, 5], "{backend}");
    });
}

/// Rules: D11, D12, D13
#[test]
fn the_size_of_reads_follows_what_comes() {
    on_every_selector(|backend| {
        let batches = batches(backend, RecvAllocator::default(), 150_000);
        // Twice what is predicted (2048, then 32,768) is offered, up to the most.
        let sizes = [4096, 65_408, 65_408, 150_000 - 4096 - 2 * 65_408];
        assert_eq!(batches, [sizes], "{backend}");
    });
}
