//! Chunked writes and shaped ones over a real connection, on a loop with a thread of its own.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::handler::stream::{Chunked, ChunkedFeed, ChunkedReader, ChunkedWrite};
use tidegate::handler::traffic::{TrafficLimits, TrafficShaper};
use tidegate::{Bootstrap, Channel, Error, EventLoopGroup, Message, Pipeline};

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
