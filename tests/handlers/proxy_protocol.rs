//! `ProxyProtocol`: the header at every split, what is no header, and what happens to the bytes behind it.

use std::net::SocketAddr;

use tidegate::buffer::BytesMut;
use tidegate::channel::options::{ALLOW_HALF_CLOSURE, AUTO_READ};
use tidegate::codec::Encoder;
use tidegate::codec::proxy_protocol::{ProxyAddress, ProxyEncoder, ProxyHeader};
use tidegate::handler::proxy_protocol::ProxyProtocol;
use tidegate::{EmbeddedChannel, ErrorKind, Fault, Handler, Message, OptionSet};

use crate::common::{inbound, text};

const LINE: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n";

fn source() -> SocketAddr {
    "192.0.2.1:50000".parse().unwrap()
}

/// The same in version 2.
fn binary() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = ProxyHeader::tcp(source(), "192.0.2.2:443".parse().unwrap());
    ProxyEncoder::new().encode(&header, &mut bytes).unwrap();
    bytes.to_vec()
}

fn channel(handler: ProxyProtocol) -> EmbeddedChannel {
    EmbeddedChannel::new(|p| p.add_last(handler)).unwrap()
}

fn read_source(channel: &EmbeddedChannel) -> Option<ProxyAddress> {
    let header = channel.channel().attr(&ProxyProtocol::HEADER)?;
    header.source.clone()
}

/// Both versions, cut at every point: one event, the attribute, and exactly the bytes behind the header.
#[test]
fn the_header_is_taken_however_it_is_cut() {
    for header in [LINE.as_bytes().to_vec(), binary()] {
        let whole = [&header[..], b"GET /"].concat();
        for at in 0..=whole.len() {
            let mut channel = channel(ProxyProtocol::required());
            for part in [&whole[..at], &whole[at..]] {
                channel.write_inbound(part.to_vec()).unwrap();
            }
            let event = channel.read_event().expect("the header");
            let event: ProxyHeader = event.downcast().unwrap();
            assert_eq!(event.source, Some(ProxyAddress::Inet(source())));
            assert_eq!(read_source(&channel), event.source);
            assert!(channel.read_event().is_none());
            assert_eq!(inbound(&mut channel).concat(), "GET /", "cut at {at}");
            assert!(channel.pipeline(|p| p.is_empty()), "it has left");
        }
    }
}

/// Byte by byte too.
#[test]
fn one_byte_at_a_time() {
    for header in [LINE.as_bytes().to_vec(), binary()] {
        let mut channel = channel(ProxyProtocol::optional());
        for byte in header.iter().chain(b"GET /") {
            channel.write_inbound(vec![*byte]).unwrap();
        }
        assert!(read_source(&channel).is_some());
        assert_eq!(inbound(&mut channel).concat(), "GET /");
    }
}

/// Required: what begins with anything else is an error of the peer, and no byte of it gets on.
#[test]
fn without_the_required_header_the_channel_closes() {
    for bytes in [
        "GET / HTTP/1.1\r\n",
        "PROXY TCP4 300.0.2.1 192.0.2.2 1 2\r\n",
        "\r\n\r\nGET",
    ] {
        let mut channel = channel(ProxyProtocol::required());
        let error = channel.write_inbound(bytes).unwrap_err().into_error();
        assert_eq!(
            (error.kind(), error.fault()),
            (ErrorKind::Malformed, Fault::Peer)
        );
        assert!(!channel.channel().is_open());
        assert!(channel.read_inbound().is_none());
    }
}

/// After an error that somebody takes, the channel closes all the same, and what else had come is not handed on.
#[test]
fn nothing_follows_a_bad_header() {
    let log = crate::common::Log::new();
    let last = crate::common::Script::new("last", &log)
        .on_error(|_, _| Ok(()))
        .on_read(|_, _| Ok(()));
    let mut channel = EmbeddedChannel::new(|p| {
        p.add_last(ProxyProtocol::required())?;
        p.add_last(last)
    })
    .unwrap();
    channel.pipeline(|p| {
        p.fire_channel_read("GET ");
        p.fire_channel_read("/");
    });
    let lines = log.take();
    assert!(
        lines.len() == 1 && lines[0].starts_with("last error"),
        "{lines:?}"
    );
    assert!(!channel.channel().is_open());
}

/// Optional: what begins otherwise passes untouched, also if it began like one; a header that is wrong is an error.
#[test]
fn an_optional_header_may_be_missing() {
    for whole in [
        "GET /",
        "PROXX",
        "\r\n\r\nhello",
        "P",
        "\r\n\r\n\0\r\nQUIT\r",
    ] {
        let mut channel = channel(ProxyProtocol::optional());
        for byte in whole.bytes() {
            channel.write_inbound(vec![byte]).unwrap();
        }
        if whole == "P" {
            assert_eq!(inbound(&mut channel), [""; 0], "it may still be one");
            channel.finish().unwrap();
        }
        assert_eq!(inbound(&mut channel).concat(), whole);
        assert!(channel.read_event().is_none() && read_source(&channel).is_none());
    }
    let mut bad = channel(ProxyProtocol::optional());
    let error = bad.write_inbound("PROXY TCP9 nonsense\r\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!bad.channel().is_open());
}

/// A limit keeps memory small: a header that announces or has more is refused at once.
#[test]
fn headers_above_the_limit_are_refused() {
    let header = binary();
    assert_eq!(header.len(), 28);
    for (limit, is_taken) in [(28, true), (27, false), (0, false)] {
        for cut in [0, 16, 28] {
            let mut channel = channel(ProxyProtocol::required().limit(limit));
            let mut result = Ok(false);
            for part in [&header[..cut], &header[cut..]] {
                result = result.and_then(|_| channel.write_inbound(part.to_vec()));
            }
            match result {
                Ok(_) => assert!(is_taken && read_source(&channel).is_some()),
                Err(error) => {
                    assert!(!is_taken);
                    assert_eq!(error.kind(), ErrorKind::TooLong);
                }
            }
        }
    }
    // By the announcement, before anything else has come.
    let mut announced = header[..14].to_vec();
    announced.extend([0xff, 0xff]);
    let mut large = channel(ProxyProtocol::required().limit(1024));
    assert_eq!(
        large.write_inbound(announced).unwrap_err().kind(),
        ErrorKind::TooLong
    );
    let mut line = channel(ProxyProtocol::required().limit(20));
    assert_eq!(
        line.write_inbound(LINE).unwrap_err().kind(),
        ErrorKind::TooLong
    );
}

/// A connection that ends within the header is an error where one is required; one that never said anything is none.
#[test]
fn an_end_within_the_header() {
    let mut half = channel(ProxyProtocol::required());
    half.write_inbound("PROXY TCP4 192.").unwrap();
    let error = half.finish().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);

    let mut options = OptionSet::new();
    options.set(ALLOW_HALF_CLOSURE, true).unwrap();
    let mut half =
        EmbeddedChannel::with_options(&options, |p| p.add_last(ProxyProtocol::required())).unwrap();
    half.feed(["PROXY TCP4 192."]);
    half.feed_eof();
    assert_eq!(half.check().unwrap_err().kind(), ErrorKind::Truncated);

    let mut half = channel(ProxyProtocol::required());
    half.write_inbound("PROXY TCP4 192.").unwrap();
    half.run(|channel| channel.close());
    half.check()
        .expect("nobody is blamed for a close of this side");
    assert!(!half.channel().is_open());

    let mut silent = channel(ProxyProtocol::required());
    silent.finish().unwrap();
}

/// An optional header that is cut off is an error from the end of its signature on: what is handed on before it may be
/// another protocol's, what comes behind it is not.
#[test]
fn an_optional_header_that_is_cut_off_behind_its_signature_is_truncated() {
    for (header, signature) in [(LINE.as_bytes().to_vec(), 6), (binary(), 12)] {
        for length in 0..header.len() {
            let mut channel = channel(ProxyProtocol::optional());
            channel.write_inbound(header[..length].to_vec()).unwrap();
            let end = channel.finish();
            if length < signature {
                end.unwrap();
                assert_eq!(inbound(&mut channel).concat().as_bytes(), &header[..length]);
            } else {
                assert_eq!(end.unwrap_err().kind(), ErrorKind::Truncated, "{length}");
                assert!(channel.read_inbound().is_none(), "{length}");
            }
        }
    }
}

/// With auto-read off the handler asks again until it has something to hand on: whoever asked once gets a message.
#[test]
fn with_auto_read_off_one_read_brings_one_message() {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).unwrap();
    let mut channel =
        EmbeddedChannel::with_options(&options, |p| p.add_last(ProxyProtocol::required())).unwrap();
    channel.feed([
        "PROXY TCP4 192.0.2.1 ",
        "192.0.2.2 50000 443\r\n",
        "GET /",
        "more",
    ]);
    channel.run(|channel| channel.read());
    assert_eq!(inbound(&mut channel), ["GET /"]);
    assert_eq!(channel.unread(), 1);
}

/// Taken out before the header is complete, it hands on what it holds; what is no bytes passes it.
#[test]
fn what_it_holds_goes_on_when_it_is_removed() {
    let mut channel = channel(ProxyProtocol::required());
    channel.write_inbound("PROXY TC").unwrap();
    channel.write_inbound(Message::new(7_u32)).unwrap();
    channel
        .pipeline(|p| p.remove_type::<ProxyProtocol>())
        .unwrap();
    channel.write_inbound("P4").unwrap();
    assert_eq!(inbound(&mut channel), ["7", "PROXY TC", "P4"]);
}

/// Added in the middle of a connection it looks at what comes from then on, also behind a handler that is replaced by it.
#[test]
fn it_may_come_late() {
    struct Replaced;
    impl Handler for Replaced {
        fn channel_read(
            &mut self,
            ctx: &mut tidegate::Context<'_>,
            msg: Message,
        ) -> tidegate::HandlerResult {
            assert_eq!(text(&msg), "now");
            ctx.pipeline()
                .replace_type::<Replaced, _>(ProxyProtocol::required())?;
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(|p| p.add_last(Replaced)).unwrap();
    channel.write_inbound("now").unwrap();
    channel.write_inbound(LINE).unwrap();
    assert!(read_source(&channel).is_some());
}
