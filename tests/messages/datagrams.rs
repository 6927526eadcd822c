//! Codecs on single datagrams: each is decoded by itself, and whatever one holds, the next is none the worse for it.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tidegate::codec::{
    Decoder, Encoder, LengthFieldDecoder, LineDecoder, LineEncoder, StringDecoder, WholeDecoder,
};
use tidegate::handler::codec::{Addressed, decode_datagrams, encode_datagrams};
use tidegate::transport::udp::{Datagram, Udp};
use tidegate::{
    Bootstrap, Context, EmbeddedChannel, Error, ErrorKind, EventLoopGroup, Failure, Handler,
    HandlerResult, Message,
};

const DEADLINE: Duration = Duration::from_secs(20);
const PEER: &str = "192.0.2.7:514";

fn datagram(content: &'static [u8]) -> Message {
    Message::new(Datagram::new(content, PEER))
}

fn text_lines(max: usize) -> StringDecoder<LineDecoder> {
    StringDecoder::new(LineDecoder::new(max))
}

/// Notes errors, so that the channel stays open.
struct Notes(mpsc::Sender<ErrorKind>);

impl Handler for Notes {
    fn exception_caught(&mut self, _: &mut Context<'_>, cause: Failure) -> HandlerResult {
        let _ = self.0.send(cause.kind());
        Ok(())
    }
}

/// A channel that decodes with what `make` makes.
fn decoding<D>(make: impl FnMut() -> D + 'static) -> (EmbeddedChannel, mpsc::Receiver<ErrorKind>)
where
    D: Decoder + 'static,
    D::Item: Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(decode_datagrams(make))?;
        pipeline.add_last(Notes(tell))
    });
    (channel.expect("a sound pipeline"), told)
}

fn lines(channel: &mut EmbeddedChannel) -> Vec<String> {
    let next = || channel.read_inbound_as::<Addressed<String>>();
    std::iter::from_fn(next).map(|line| line.value).collect()
}

#[test]
fn a_value_says_whom_it_came_from_and_can_be_answered() {
    let (mut channel, _) = decoding(|| text_lines(100));
    let mut received = Datagram::new("up\n", PEER);
    received.local = Some("192.0.2.1".parse().unwrap());
    channel.feed([Message::new(received)]);
    let line: Addressed<String> = channel.read_inbound_as().unwrap();
    assert_eq!(line.value, "up");
    let answer = line.reply(5_u8);
    assert_eq!(
        (answer.value, answer.peer, answer.local),
        (5, PEER.into(), Some("192.0.2.1".parse().unwrap()))
    );
}

#[test]
fn each_datagram_is_all_of_its_input() {
    let (mut channel, errors) = decoding(|| text_lines(100));
    channel.feed([datagram(b"one\ntwo\nthr"), datagram(b"ee\n")]);
    assert_eq!(lines(&mut channel), ["one", "two", "ee"]);
    assert_eq!(errors.try_recv(), Ok(ErrorKind::Truncated));
    assert!(errors.try_recv().is_err());

    let (mut channel, errors) = decoding(|| StringDecoder::new(WholeDecoder::new(10)));
    channel.feed([datagram(b"one\ntwo"), datagram(b"three")]);
    assert_eq!(lines(&mut channel), ["one\ntwo", "three"]);
    assert!(errors.try_recv().is_err());
    channel.feed([datagram(b"more than ten"), datagram(b"ten or less")]);
    channel.feed([datagram(b"ten at most"), datagram(b"four")]);
    assert_eq!(lines(&mut channel), ["four"]);
    assert_eq!(
        errors.try_iter().collect::<Vec<_>>(),
        [ErrorKind::TooLong; 3]
    );
}

#[test]
fn a_datagram_that_is_wrong_is_an_error_and_the_next_is_decoded_afresh() {
    // Two bytes of length, at most 8 of body.
    let (mut channel, errors) = decoding(|| LengthFieldDecoder::new(8, 0, 2).strip(2));
    let wrong: [(&[u8], ErrorKind); 4] = [
        (b"\0", ErrorKind::Truncated),
        (b"\0\x05hell", ErrorKind::Truncated),
        (b"\xff\xffmore than is allowed", ErrorKind::TooLong),
        (b"\0\x01x\0\x09too long", ErrorKind::TooLong),
    ];
    for (content, kind) in wrong {
        channel.feed([datagram(content), datagram(b"\0\x02ok")]);
        assert_eq!(errors.try_recv(), Ok(kind), "{content:?}");
        assert!(errors.try_recv().is_err(), "one error for one datagram");
        let values = std::iter::from_fn(|| channel.read_inbound_as::<Addressed<BytesMut>>());
        let last = values.last().expect("the good one");
        assert_eq!(last.value, "ok");
    }
    assert!(channel.channel().is_active());
}

#[test]
fn an_empty_datagram_gives_nothing() {
    let (mut channel, errors) = decoding(|| text_lines(100));
    channel.feed([datagram(b""), datagram(b"after it\n")]);
    assert_eq!(lines(&mut channel), ["after it"]);
    assert!(errors.try_recv().is_err());
}

/// Gives numbers for ever, of no bytes.
struct Fountain;

impl Decoder for Fountain {
    type Item = u8;
    type Error = Error;

    fn decode(&mut self, _: &mut BytesMut) -> Result<Option<u8>, Error> {
        Ok(Some(0))
    }
}

#[test]
fn a_decoder_that_makes_no_progress_ends_with_its_datagram() {
    let (mut channel, errors) = decoding(|| Fountain);
    channel.feed([datagram(b"x"), datagram(b"y")]);
    assert_eq!(
        errors.try_iter().collect::<Vec<_>>(),
        [ErrorKind::NoProgress; 2]
    );
    assert!(channel.channel().is_active());
}

/// Whoever stops reading gets no more of a datagram either.
#[test]
fn the_values_of_one_datagram_are_held_back_while_reading_is_not_wanted() {
    struct StopsAtFirst(mpsc::Sender<String>);
    impl Handler for StopsAtFirst {
        fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
            let line: Addressed<String> = msg.downcast().expect("a line");
            let _ = self.0.send(line.value);
            ctx.set_auto_read(false);
            Ok(())
        }
    }
    let (tell, told) = mpsc::channel();
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(decode_datagrams(|| text_lines(100)))?;
        pipeline.add_last(StopsAtFirst(tell))
    })
    .unwrap();
    channel.feed([datagram(b"one\ntwo\n")]);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["one"]);
    channel.run(|channel| channel.read());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["two"]);
}

/// Even numbers only.
struct Even;

impl Encoder<u16> for Even {
    type Error = Error;

    fn encode(&mut self, item: u16, dst: &mut BytesMut) -> Result<(), Error> {
        if !item.is_multiple_of(2) {
            return Err(Error::new(ErrorKind::Unencodable, "it is odd"));
        }
        if item > 0 {
            dst.put_u16(item);
        }
        Ok(())
    }
}

#[test]
fn each_value_is_a_datagram_and_one_that_is_refused_fails_alone() {
    let mut channel =
        EmbeddedChannel::new(|pipeline| pipeline.add_last(encode_datagrams::<_, u16>(Even)))
            .unwrap();
    let writes: Vec<_> = [2, 3, 0, 4]
        .map(|n: u16| {
            channel.run(|channel| channel.write_future(Message::new(Addressed::new(n, PEER))))
        })
        .into();
    channel.run(|channel| channel.flush());
    let sent = std::iter::from_fn(|| channel.read_outbound_as::<Datagram>());
    let sent: Vec<_> = sent
        .map(|datagram| (datagram.content, datagram.peer))
        .collect();
    let to = |content: &'static [u8]| (content.into(), PEER.into());
    assert_eq!(sent, [to(&[0, 2]), to(b""), to(&[0, 4])]);
    let failed: Vec<_> = writes.iter().map(|write| write.cause()).collect();
    assert!(failed[0].is_none() && failed[2].is_none() && failed[3].is_none());
    assert_eq!(failed[1].as_ref().unwrap().kind(), ErrorKind::Unencodable);
}

#[test]
fn what_is_neither_a_datagram_nor_a_value_passes() {
    let mut channel = EmbeddedChannel::new(|pipeline| {
        pipeline.add_last(decode_datagrams(|| text_lines(100)))?;
        pipeline.add_last(encode_datagrams::<_, u16>(Even))
    })
    .unwrap();
    channel.write_inbound("bytes").unwrap();
    assert_eq!(
        channel.read_inbound().unwrap().as_bytes(),
        Some(&b"bytes"[..])
    );
    channel.write_outbound(Message::new(7_u16)).unwrap();
    assert_eq!(channel.read_outbound_as::<u16>(), Some(7));
}

/// Answers each line with its length.
struct Measures;

impl Handler for Measures {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        let line: Addressed<String> = msg.downcast().expect("a line");
        let answer = line.reply(line.value.len().to_string());
        ctx.write_and_flush(Message::new(answer));
        Ok(())
    }
}

/// Whatever comes, the channel goes on and answers the next question. Its errors have no handler: they are logged.
#[test]
fn nothing_that_comes_over_udp_stops_the_channel() {
    let group = EventLoopGroup::new(1).unwrap();
    let channel = Bootstrap::new(&group)
        .transport::<Udp>()
        .handler(|pipeline| {
            pipeline.add_last(decode_datagrams(|| text_lines(10)))?;
            pipeline.add_last(encode_datagrams::<_, String>(LineEncoder::default()))?;
            pipeline.add_last(Measures)
        })
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(channel.local_address().unwrap().as_inet().unwrap())
        .unwrap();
    let mut room = [0; 100];
    let bad: [&[u8]; 5] = [
        b"",
        b"\xff\xfe\n",
        &[b'x'; 60_000],
        b"longer than ten",
        b"\n",
    ];
    for content in bad {
        peer.send(content).unwrap();
        peer.send(b"four\n").unwrap();
        loop {
            let count = peer.recv(&mut room).unwrap();
            let mut answer = &room[..count];
            // An empty line has an answer, too.
            if answer.get_u8() == b'4' {
                break;
            }
        }
    }
    assert!(channel.is_active());
    channel.close().sync_timeout(DEADLINE).unwrap();
}
