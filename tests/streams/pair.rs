//! The linked pair of embedded channels: an echo and a line protocol over networks of all kinds.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate::buffer::{Bytes, BytesMut, IntoMessage};
use tidegate::channel::Direction;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};
use tidegate::handler::stream::{Chunked, ChunkedBytes, ChunkedWrite};
use tidegate::transport::embedded::{Cut, EmbeddedPair, Link};
use tidegate::{
    Context, EmbeddedChannel, ErrorKind, Failure, Handler, HandlerResult, Message, OptionSet,
    Pipeline,
};

use crate::support::{Log, inbound, text};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn nothing(_: &mut Pipeline<'_>) -> Result<(), Failure> {
    Ok(())
}

struct Echo;

impl Handler for Echo {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        ctx.write(msg);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.flush();
        Ok(())
    }
}

fn echo(link: Link) -> EmbeddedPair {
    EmbeddedPair::new(link, nothing, |p| p.add_last(Echo)).unwrap()
}

fn send(side: &mut EmbeddedChannel, msg: impl IntoMessage) {
    let msg = msg.into_message();
    side.run(|channel| channel.write_and_flush(msg));
}

#[test]
fn what_one_side_flushes_the_other_reads_after_the_delay() {
    let mut pair = echo(Link::seeded(1).delay(ms(30)));
    send(pair.client(), "hello");
    pair.advance(ms(29));
    assert_eq!((pair.delivered(), pair.in_flight()), (0, 5));
    pair.advance(ms(1));
    assert_eq!((pair.delivered(), pair.in_flight()), (5, 5));
    pair.advance(ms(29));
    assert_eq!(inbound(pair.client()), "");
    pair.advance(ms(1));
    assert_eq!(inbound(pair.client()), "hello");
    assert_eq!(pair.now(), ms(60));
}

/// A handler that knows nothing but what sockets give is tested as it will run.
#[test]
fn bytes_arrive_as_a_socket_gives_them() {
    for link in [
        Link::seeded(1),
        Link::seeded(1).chop(1, 3),
        Link::seeded(1).cut_after(9, Cut::Silence),
    ] {
        let mut pair = EmbeddedPair::new(link, nothing, nothing).unwrap();
        send(pair.client(), "text");
        send(pair.client(), vec![1, 2]);
        send(pair.client(), Bytes::from_static(b"frozen"));
        pair.run_until_idle().unwrap();
        let mut bytes = 0;
        while let Some(msg) = pair.server().read_inbound() {
            bytes += msg.downcast::<BytesMut>().expect("a BytesMut").len();
        }
        assert!(bytes == 12 || bytes == 9, "{bytes}");
    }
    let mut pair = EmbeddedPair::new(Link::seeded(1), nothing, nothing).unwrap();
    send(pair.client(), Message::new(7_u64));
    pair.run_until_idle().unwrap();
    assert_eq!(pair.server().read_inbound_as::<u64>(), Some(7), "as it is");
}

#[test]
fn bytes_keep_their_order_however_they_are_chopped_and_delayed() {
    let content: String = (0..2000)
        .map(|at| char::from(b'a' + (at % 26) as u8))
        .collect();
    for seed in 0..50 {
        let link = Link::seeded(seed).delay(ms(5)).jitter(ms(50)).chop(1, 40);
        let mut pair = echo(link);
        for part in content.as_bytes().chunks(333) {
            send(pair.client(), part.to_vec());
            pair.advance(ms(seed % 7));
        }
        pair.run_until_idle().unwrap();
        assert_eq!(inbound(pair.client()), content);
    }
}

/// The sizes in which an echo of 500 bytes comes back, and when.
fn trace(seed: u64) -> Vec<(usize, Duration)> {
    let link = Link::seeded(seed).delay(ms(5)).jitter(ms(50)).chop(3, 40);
    let mut pair = echo(link);
    send(pair.client(), vec![b'x'; 500]);
    let mut trace = Vec::new();
    while pair.delivered() < 1000 {
        pair.advance(ms(1));
        while let Some(piece) = pair.client().read_inbound() {
            trace.push((text(&piece).len(), pair.now()));
        }
    }
    trace
}

#[test]
fn one_seed_gives_one_run() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
    let sizes: Vec<usize> = trace(7).iter().map(|(size, _)| *size).collect();
    assert!(
        sizes.iter().all(|size| (1..=40).contains(size)),
        "{sizes:?}"
    );
    assert!(sizes.len() >= 500 / 40);
}

/// Answers each line with its number and its length, whatever the pieces; "wait" answers a second later.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    count: u64,
    waiting: VecDeque<String>,
}

impl Handler for Lines {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.rest
            .extend_from_slice(msg.as_bytes().unwrap_or_default());
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.count += 1;
            let answer = format!("{} {}\n", self.count, line.len() - 1);
            if line == b"wait\n" {
                self.waiting.push_back(answer);
                ctx.timer(Duration::from_secs(1), self.count);
            } else {
                ctx.write_and_flush(answer.into_bytes());
            }
        }
        Ok(())
    }

    fn timer(&mut self, ctx: &mut Context<'_>, _: u64) -> HandlerResult {
        if let Some(answer) = self.waiting.pop_front() {
            ctx.write_and_flush(answer.into_bytes());
        }
        Ok(())
    }
}

#[test]
fn a_line_protocol_says_the_same_over_every_network() {
    let requests = "one\n\nthree\nfour has words\n";
    for seed in 0..100 {
        let link = Link::seeded(seed).delay(ms(seed)).jitter(ms(seed / 2));
        let link = if seed % 3 == 0 {
            link
        } else {
            link.chop(1, 1 + seed as usize / 10)
        };
        let mut pair = EmbeddedPair::new(link, nothing, |p| p.add_last(Lines::default())).unwrap();
        send(pair.client(), requests);
        pair.run_until_idle().unwrap();
        assert_eq!(
            inbound(pair.client()),
            "1 3\n2 0\n3 5\n4 14\n",
            "seed {seed}"
        );
    }
}

/// Timers of both sides and arrivals happen in the order of time, by one clock.
#[test]
fn one_clock_moves_both_sides() {
    let link = Link::seeded(1).delay(ms(100));
    let mut pair = EmbeddedPair::new(link, nothing, |p| p.add_last(Lines::default())).unwrap();
    send(pair.client(), "wait\n");
    pair.run_until_idle().unwrap();
    assert_eq!(pair.now(), ms(100), "nobody waits for the timer");
    pair.advance(ms(1_099));
    assert_eq!(inbound(pair.client()), "");
    pair.advance(ms(1));
    assert_eq!(inbound(pair.client()), "1 4\n");
}

#[test]
fn a_close_arrives_behind_the_data() {
    let log = Log::default();
    let told = log.clone();
    let mut pair = EmbeddedPair::new(
        Link::seeded(1).delay(ms(10)).chop(1, 3),
        nothing,
        move |p| p.add_last(Ending(told)),
    )
    .unwrap();
    pair.client().run(|channel| {
        channel.write_and_flush("farewell").close_when_done();
    });
    pair.run_until_idle().unwrap();
    assert_eq!(inbound(pair.server()), "farewell");
    assert_eq!(log.take(), ["inactive"]);
    assert!(!pair.server().channel().is_open());
    pair.server().check().unwrap();
}

struct Ending(Log);

impl Handler for Ending {
    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0.add("inactive");
        ctx.fire_channel_inactive();
        Ok(())
    }
}

/// One side ends its output and still hears the answer.
///
/// Rules: A35
#[test]
fn a_half_close_passes_on() {
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    let link = Link::seeded(1).delay(ms(10));
    let mut pair =
        EmbeddedPair::with_options(link, &options, nothing, |p| p.add_last(Echo)).unwrap();
    pair.client().run(|channel| {
        channel.write_and_flush("question");
        channel.shutdown_output();
    });
    pair.run_until_idle().unwrap();
    assert_eq!(inbound(pair.client()), "question");
    assert_eq!(pair.client().shutdowns(), [Direction::Output]);
    assert!(pair.server().channel().is_open());
    pair.server().close();
    pair.run_until_idle().unwrap();
    assert!(!pair.client().channel().is_active() || pair.client().shutdowns().len() == 2);
}

#[test]
fn bytes_for_a_closed_side_come_back_as_a_reset() {
    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    let link = Link::seeded(1).delay(ms(10));
    let mut pair = EmbeddedPair::with_options(link, &options, nothing, nothing).unwrap();
    pair.client().close();
    pair.run_until_idle().unwrap();
    send(pair.server(), "anybody there?");
    pair.run_until_idle().unwrap();
    let error = pair.server().check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(!pair.server().channel().is_open());
}

#[test]
fn a_reset_is_seen_by_both_sides_and_loses_what_was_on_its_way() {
    for auto_read in [true, false] {
        let mut options = OptionSet::new();
        options.set(AUTO_READ, auto_read).unwrap();
        let link = Link::seeded(1).delay(ms(10));
        let mut pair = EmbeddedPair::with_options(link, &options, nothing, nothing).unwrap();
        send(pair.client(), "lost");
        pair.advance(ms(9));
        pair.cut(Cut::Reset);
        pair.advance(ms(9));
        assert_eq!(pair.is_cut(), Some(Cut::Reset));
        assert_eq!(pair.delivered(), 0);
        for side in [0, 1] {
            let side = if side == 0 {
                pair.client()
            } else {
                pair.server()
            };
            assert_eq!(side.check().unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(!side.channel().is_open());
        }
    }
}

#[test]
fn silence_is_seen_by_nobody() {
    let mut pair = echo(Link::seeded(1).delay(ms(10)));
    send(pair.client(), "heard");
    pair.run_until_idle().unwrap();
    send(pair.client(), "unheard");
    pair.cut(Cut::Silence);
    send(pair.client(), vec![0; 1 << 20]);
    pair.client().close();
    pair.advance(ms(1_000_000));
    assert_eq!(inbound(pair.client()), "heard");
    assert!(pair.server().channel().is_open());
    assert_eq!((pair.in_flight(), pair.delivered()), (0, 10));
}

#[test]
fn a_link_may_be_cut_after_so_many_bytes() {
    for (how, is_open) in [(Cut::Silence, true), (Cut::Reset, false)] {
        for limit in 0..20 {
            let link = Link::seeded(limit).chop(1, 4).cut_after(limit, how);
            let mut pair = EmbeddedPair::new(link, nothing, nothing).unwrap();
            send(pair.client(), "0123456789");
            send(pair.client(), "abcdefghij");
            pair.run_until_idle().unwrap();
            assert_eq!(pair.delivered(), limit);
            let arrived = inbound(pair.server());
            assert_eq!(arrived, "0123456789abcdefghij"[..limit as usize]);
            assert_eq!(pair.server().channel().is_open(), is_open);
        }
    }
}

/// A receiver that does not read makes the sender wait, as the buffers of sockets do.
#[test]
fn a_link_holds_only_so_much() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    let link = Link::seeded(1).delay(ms(1)).room(1000);
    let mut pair =
        EmbeddedPair::with_options(link, &options, |p| p.add_last(ChunkedWrite::new()), nothing)
            .unwrap();
    let upload = Chunked::new(ChunkedBytes::new(vec![b'x'; 10_000]).chunk_size(100));
    let sent = pair
        .client()
        .run(|channel| channel.write_and_flush(Message::new(upload)));
    pair.run_until_idle().unwrap();
    assert_eq!(pair.server().unread(), 10);
    assert!(!sent.is_done());
    pair.server().run(|channel| channel.set_auto_read(true));
    pair.run_until_idle().unwrap();
    assert!(sent.is_success());
    assert_eq!(inbound(pair.server()).len(), 10_000);
}

/// Messages that are no bytes travel whole.
#[test]
fn values_travel_too() {
    let mut pair = EmbeddedPair::new(Link::seeded(1).chop(1, 1), nothing, nothing).unwrap();
    send(pair.client(), Message::new(42_u32));
    pair.run_until_idle().unwrap();
    assert_eq!(pair.server().read_inbound_as::<u32>(), Some(42));
}

#[test]
fn two_sides_that_never_stop_are_an_error() {
    let link = Link::seeded(1).delay(ms(1));
    let mut pair = EmbeddedPair::new(link, |p| p.add_last(Echo), |p| p.add_last(Echo)).unwrap();
    send(pair.client(), "ping");
    let error = pair.run_until_idle().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoProgress);
}
