//! Chunked writes and shaped ones over a real connection, on a loop with a thread of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::handler::stream::{Chunked, ChunkedFeed, ChunkedReader, ChunkedWrite, FeedSender};
use tidegate::handler::traffic::{TrafficLimits, TrafficShaper};
use tidegate::{
    Bootstrap, Channel, Context, Error, EventLoopGroup, Handler, HandlerResult, Message, Pipeline,
    ServerBootstrap,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A channel with these handlers, and the peer's socket.
fn connect(
    fill: impl Fn(&mut Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> (EventLoopGroup, Channel, TcpStream) {
    let group = EventLoopGroup::new(1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = Bootstrap::new(&group)
        .handler(fill)
        .connect(listener.local_addr().unwrap())
        .sync_timeout(DEADLINE)
        .unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    (group, channel, peer)
}

/// A reader of so many bytes that nobody has to keep in memory.
struct Pattern(u64);

impl Read for Pattern {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        for byte in room.iter_mut() {
            *byte = (self.0 % 251) as u8;
            self.0 += 1;
        }
        Ok(room.len())
    }
}

/// Rules: H53
#[test]
fn a_large_transfer_arrives_whole_at_a_peer_that_reads_when_it_likes() {
    const LENGTH: u64 = 16 << 20;
    let (_group, channel, mut peer) = connect(|p| p.add_last(ChunkedWrite::new()));
    let input = ChunkedReader::new(Pattern(0)).length(LENGTH);
    let sent = channel.write_and_flush(Message::new(Chunked::new(input)));
    let plain = channel.write_and_flush("end");
    let mut received = 0_u64;
    let mut room = vec![0; 100_000];
    while received < LENGTH {
        let limit = room.len().min((LENGTH - received) as usize);
        let count = peer.read(&mut room[..limit]).unwrap();
        assert!(count > 0, "the connection ended after {received} bytes");
        for byte in &room[..count] {
            assert_eq!(u64::from(*byte), received % 251);
            received += 1;
        }
    }
    let mut end = [0; 3];
    peer.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"end");
    sent.sync_timeout(DEADLINE).unwrap();
    plain.sync_timeout(DEADLINE).unwrap();
}

/// Rules: H53
#[test]
fn a_thread_feeds_a_connection_at_the_speed_of_its_peer() {
    let (_group, channel, mut peer) = connect(|p| p.add_last(ChunkedWrite::new()));
    let (sender, feed) = ChunkedFeed::bounded(4);
    let sent = channel.write_and_flush(Message::new(Chunked::new(feed)));
    let worker = thread::spawn(move || {
        for number in 0..2_000_u32 {
            sender.send(number.to_be_bytes().repeat(256)).unwrap();
        }
        sender.finish();
    });
    let mut block = [0; 1024];
    for number in 0..2_000_u32 {
        peer.read_exact(&mut block).unwrap();
        assert_eq!(block[..], number.to_be_bytes().repeat(256)[..]);
    }
    worker.join().unwrap();
    sent.sync_timeout(DEADLINE).unwrap();
}

/// Never faster than the limit; how much slower is the machine's affair.
///
/// Rules: H54
#[test]
fn a_limit_holds_on_a_real_clock() {
    let shaper = TrafficShaper::for_channel(TrafficLimits::new().write(1_000_000));
    let shared = shaper.clone();
    let (_group, channel, mut peer) = connect(move |p| p.add_last(shared.handler()));
    let begun = Instant::now();
    for _ in 0..30 {
        channel.write_and_flush(vec![7; 10_000]);
    }
    let mut received = vec![0; 300_000];
    peer.read_exact(&mut received).unwrap();
    // All but the last are paid for when it leaves, up to 10 ms early.
    assert!(
        begun.elapsed() >= Duration::from_millis(280),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(shaper.traffic().bytes_written, 300_000);
}

/// Writes back what comes, of one type or the other, and tells how much it was.
struct Echo {
    frozen: bool,
    told: Sender<usize>,
}

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let count = msg.readable_bytes().unwrap_or(0);
        if self.frozen {
            ctx.write_and_flush(msg.into_bytes().unwrap());
        } else {
            ctx.write_and_flush(msg);
        }
        self.told.send(count).unwrap();
        Ok(())
    }
}

/// Drops what comes, and tells how much it was.
struct Sink(Sender<usize>);

impl Handler for Sink {
    fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.0.send(msg.readable_bytes().unwrap_or(0)).unwrap();
        Ok(())
    }
}

/// What [`chunks_pinned_by`] has found, while its connections last.
struct Pinned {
    chunks: u64,
    _peers: [TcpStream; 2],
    _group: EventLoopGroup,
}

/// The chunks of receive memory that are pinned after so many single bytes, each in a chunk of its own, have come to an
/// [`Echo`] behind these handlers. What else fills the chunks comes on another connection, and nobody keeps it.
fn chunks_pinned_by(
    bytes: u64,
    frozen: bool,
    fill: impl Fn(&mut Pipeline<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> Pinned {
    let group = EventLoopGroup::new(1).unwrap();
    let (told, heard) = mpsc::channel();
    let (echo_told, sink_told) = (told.clone(), told);
    let echo = ServerBootstrap::new(&group, &group)
        .child_handler(move |p| {
            fill(p)?;
            let told = echo_told.clone();
            p.add_last(Echo { frozen, told })
        })
        .bind("127.0.0.1:0");
    let sink = ServerBootstrap::new(&group, &group)
        .child_handler(move |p| p.add_last(Sink(sink_told.clone())))
        .bind("127.0.0.1:0");
    let [mut echo, mut sink] = [echo, sink].map(|server| {
        let server = server.sync_timeout(DEADLINE).unwrap();
        let address = server.local_address().unwrap();
        TcpStream::connect(address.as_inet().unwrap()).unwrap()
    });
    let send = |peer: &mut TcpStream, bytes: &[u8]| {
        peer.write_all(bytes).unwrap();
        let mut missing = bytes.len();
        while missing > 0 {
            missing -= heard.recv_timeout(DEADLINE).unwrap();
        }
    };
    for _ in 0..bytes {
        send(&mut echo, b"y");
        send(&mut sink, &[b'n'; 300_000]);
    }
    // The turn in which the last of it came is over, and has looked at its chunks.
    for _ in 0..2 {
        let turn = group.next().submit(|| ());
        turn.sync_timeout(DEADLINE).unwrap();
    }
    Pinned {
        chunks: group.metrics().arena_pinned_chunks,
        _peers: [echo, sink],
        _group: group,
    }
}

/// A few bytes that wait for their share of the bandwidth hold on to no chunk of 256 KiB.
///
/// Rules: H54
#[test]
fn what_waits_for_its_share_pins_no_receive_memory() {
    for frozen in [false, true] {
        let limits = TrafficLimits::new().write(1).max_wait(10 * DEADLINE);
        let shaper = TrafficShaper::for_channel(limits);
        let shared = shaper.clone();
        let pinned = chunks_pinned_by(20, frozen, move |p| {
            p.add_last(shared.handler().sized_by(|_| 1000))
        });
        assert_eq!(shaper.traffic().queued, 19_000, "all but the first wait");
        let chunks = pinned.chunks;
        assert!(chunks <= 2, "{chunks} chunks, frozen: {frozen}");
    }
}

/// Nor do those that wait behind a chunked message.
///
/// Rules: H53
#[test]
fn what_waits_behind_a_chunked_message_pins_no_receive_memory() {
    struct First(Vec<FeedSender>);
    impl Handler for First {
        fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
            let (sender, feed) = ChunkedFeed::bounded(1);
            self.0.push(sender);
            ctx.write_and_flush(Message::new(Chunked::new(feed)));
            ctx.fire_channel_active();
            Ok(())
        }
    }
    for frozen in [false, true] {
        let pinned = chunks_pinned_by(20, frozen, |p| {
            p.add_last(ChunkedWrite::new())?;
            p.add_last(First(Vec::new()))
        });
        let chunks = pinned.chunks;
        assert!(chunks <= 2, "{chunks} chunks, frozen: {frozen}");
    }
}
