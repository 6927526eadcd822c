//! Parsers that are given all of their input at once: one datagram, one notification, one line of configuration. As subjects
//! they wait for the end of the input, so that cutting it makes no difference by construction; what is looked for is a
//! panic, a value that does not say again what was read, and, for datagrams, one that changes how the next is decoded.

use bytes::{Bytes, BytesMut};
use tidegate::channel::options::CLOSE_ON_UNHANDLED_ERROR;
use tidegate::codec::{LengthFieldDecoder, LineDecoder, WholeDecoder};
use tidegate::error::{Error, ErrorKind};
use tidegate::handler::codec::{Addressed, decode_datagrams};
use tidegate::handler::ip_filter::IpRules;
use tidegate::transport::sctp::Notification;
use tidegate::transport::udp::Datagram;
use tidegate::{EmbeddedChannel, Message, OptionSet};
use tidegate_sys::os::net::{ControlMessage, read_control_messages};

use super::subject::Subject;

/// A parser of whole inputs.
struct Whole<F>(F);

impl<F> Subject for Whole<F>
where
    F: FnMut(&[u8]) -> Result<Vec<u8>, Error>,
{
    fn step(&mut self, src: &mut BytesMut, ended: bool) -> Result<Option<Vec<u8>>, Error> {
        if !ended || src.is_empty() {
            return Ok(None);
        }
        (self.0)(&src.split()).map(Some)
    }

    fn keeps(&self) -> usize {
        usize::MAX
    }
}

fn malformed(text: &str) -> Error {
    Error::new(ErrorKind::Malformed, text.to_owned())
}

/// What the kernel says of an SCTP association, in the byte order of this machine.
pub fn sctp_notification(_: u32) -> Box<dyn Subject> {
    Box::new(Whole(|bytes: &[u8]| {
        let Some(notification) = Notification::parse(bytes) else {
            return Err(malformed("it is cut"));
        };
        if let Notification::SendFailed { payload: data, .. }
        | Notification::RemoteError { data, .. }
        | Notification::Other { bytes: data, .. } = &notification
        {
            assert!(data.len() <= bytes.len(), "bytes from nowhere");
        }
        Ok(format!("{notification:?}").into_bytes())
    }))
}

pub fn sctp_notification_seeds() -> Vec<Vec<u8>> {
    // sn_type, sn_flags, sn_length and what follows, as <linux/sctp.h> has them.
    let built = |kind: u16, flags: u16, rest: &[u8]| {
        let length = u32::try_from(8 + rest.len()).expect("a seed is short");
        let mut bytes = (0x8000 + kind).to_ne_bytes().to_vec();
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(rest);
        bytes
    };
    let mut v4 = [0; 140];
    v4[..8].copy_from_slice(&[2, 0, 0x1f, 0x90, 192, 0, 2, 1]);
    let mut v6 = [0; 140];
    v6[..4].copy_from_slice(&[10, 0, 0x1f, 0x90]);
    v6[8..24].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    vec![
        built(1, 0, &[0, 0, 0, 0, 10, 0, 20, 0, 7, 0, 0, 0]),
        built(2, 0, &v4),
        built(2, 0, &v6),
        built(3, 1, &[&[9; 4][..], &[5; 32], &[7; 4], b"lost"].concat()),
        built(4, 0, b"\0\x09\0\0\x07\0\0\0why"),
        built(5, 0, &[7, 0, 0, 0]),
        built(6, 0, &[0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0]),
        built(7, 0, &[1, 2, 3, 4, 7, 0, 0, 0]),
        built(9, 0, &[7, 0, 0, 0]),
        built(99, 0, b"from the future"),
    ]
}

/// The input is a row of datagrams, each behind a byte that says its length.
pub fn datagrams(config: u32) -> Box<dyn Subject> {
    Box::new(Whole(move |bytes: &[u8]| {
        let mut rest = bytes;
        let mut row = Vec::new();
        while let Some((length, behind)) = rest.split_first() {
            let (one, left) = behind.split_at(usize::from(*length).min(behind.len()));
            row.push(one);
            rest = left;
        }
        let mut channel = decoding(config);
        let mut told = Vec::new();
        let mut failures = 0;
        for one in &row {
            let heard = through(&mut channel, one);
            failures += usize::from(heard.1.is_some());
            told.push(heard);
        }
        // A datagram stands for itself, whatever came before it. Each is the last of some row.
        if let (Some(one), Some(heard)) = (row.last(), told.last()) {
            assert_eq!(*heard, through(&mut decoding(config), one), "{one:?}");
        }
        if failures == told.len() {
            return Err(malformed("no datagram can be decoded"));
        }
        Ok(format!("{told:?}").into_bytes())
    }))
}

/// A channel that decodes datagrams by one of three decoders. Like a datagram socket's it outlives errors.
fn decoding(config: u32) -> EmbeddedChannel {
    let mut options = OptionSet::new();
    let set = options.set(CLOSE_ON_UNHANDLED_ERROR, false);
    set.unwrap_or_else(|error| panic!("a bool is in range: {error}"));
    let channel = EmbeddedChannel::with_options(&options, |pipeline| match config % 3 {
        0 => pipeline.add_last(decode_datagrams(|| LineDecoder::new(20))),
        1 => pipeline.add_last(decode_datagrams(|| LengthFieldDecoder::new(64, 0, 2))),
        _ => pipeline.add_last(decode_datagrams(|| WholeDecoder::new(64))),
    });
    channel.unwrap_or_else(|error| panic!("a pipeline of one decoder: {error}"))
}

/// The values of one datagram, and the error behind them.
fn through(channel: &mut EmbeddedChannel, one: &[u8]) -> (Vec<Bytes>, Option<String>) {
    let datagram = Datagram::new(one.to_vec(), "192.0.2.7:514");
    let error = channel.write_inbound(Message::new(datagram)).err();
    let mut values = Vec::new();
    while let Some(message) = channel.read_inbound() {
        match message.downcast::<Addressed<BytesMut>>() {
            Ok(frame) => values.push(frame.value.freeze()),
            Err(other) => panic!("not of the decoder: {other:?}"),
        }
    }
    assert!(
        channel.channel().is_open(),
        "a datagram has closed its channel"
    );
    (values, error.map(|error| error.to_string()))
}

pub fn datagrams_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x07up\ndown\x05down\n\x00\x04\r\n\r\n"[..],
        b"\x07\x00\x05hello\x0a\x00\x03abc\x00\x01x..\x02\x00\x00",
        b"\x09\xff\xff too lo\x04\x00\x02ab",
        b"\x1ba line of more than twenty b\x03ok\n\x00\x00",
        b"\xff and here the input ends early\n",
        b"\x01\n\x01\n\x01\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// The input is a row of control messages (cmsg(3)), each behind three bytes: its kind, how much longer than it is it says it
/// is where it is cut, and its length. How much room there is for all of them, the word chooses.
pub fn control_messages(config: u32) -> Box<dyn Subject> {
    // What receives have room for, and what ends in the middle.
    let rooms = [128, 1088, 128, 40, 64, 23, 128, 0];
    let room = rooms[config as usize % rooms.len()];
    Box::new(Whole(move |bytes: &[u8]| {
        let mut rest = bytes;
        let mut row = Vec::new();
        while let Some(([kind, more, length], behind)) = rest.split_first_chunk() {
            let (value, left) = behind.split_at(usize::from(*length).min(behind.len()));
            let message = ControlMessage::new(usize::from(*kind), value, u16::from(*more));
            row.push(message);
            rest = left;
        }
        let (told, numbers) = read_control_messages(&row, room);
        assert!(told.descriptors.is_empty(), "nobody sent any");
        assert!(numbers.len() * 4 <= room, "descriptors from nowhere");
        let is_silent = told.segment == 0 && told.local.is_none() && told.class.is_none();
        if is_silent && numbers.is_empty() {
            return Err(malformed("nothing is told"));
        }
        Ok(format!("{told:?} {numbers:?}").into_bytes())
    }))
}

pub fn control_messages_seeds() -> Vec<Vec<u8>> {
    // Kinds are numbers of a table that the systems have different ends of: each value fits several.
    let message = |kind: u8, more: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).expect("a seed is short");
        [&[kind, more, length][..], value].concat()
    };
    let v4 = [&[0; 8][..], &[192, 0, 2, 1]].concat();
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[2, 0, 0, 0]].concat();
    let word = 1200_u32.to_ne_bytes();
    let stamp = [9; 16];
    vec![
        [
            message(5, 0, &word),
            message(6, 0, &v4),
            message(2, 0, &[0xb8]),
        ]
        .concat(),
        [message(4, 0, &v6), message(3, 0, &[0xb8, 0, 0, 0])].concat(),
        [
            message(0, 0, &stamp),
            message(6, 0, &v4),
            message(0, 0, &stamp),
        ]
        .concat(),
        [
            message(1, 0, &[3, 0, 0, 0, 4, 0, 0, 0]),
            message(5, 0, &word),
        ]
        .concat(),
        message(4, 12, &v6[..8]),
        message(1, 200, &[5; 60]),
        [
            message(0, 0, &stamp),
            message(0, 0, &stamp),
            message(0, 0, &stamp),
            message(4, 0, &v6),
        ]
        .concat(),
    ]
}

/// A network as a configuration has it, behind a verdict's letter.
pub fn ip_rules(_: u32) -> Box<dyn Subject> {
    Box::new(Whole(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let rules =
            text.lines()
                .try_fold(IpRules::new(), |rules, line| match line.strip_prefix('-') {
                    Some(network) => rules.reject(network),
                    None => rules.accept(line.strip_prefix('+').unwrap_or(line)),
                })?;
        let peers = [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "2001:db8::1",
            "255.255.255.255",
        ];
        let verdicts = peers.map(|peer| rules.verdict(peer.parse().expect("an address")));
        assert_eq!(verdicts[0], verdicts[1], "one address in two forms");
        Ok(format!("{verdicts:?} {:?}", rules).into_bytes())
    }))
}

pub fn ip_rules_seeds() -> Vec<Vec<u8>> {
    [
        &b"+10.0.0.0/8\n-0.0.0.0/0"[..],
        b"-2001:db8::/32\n+::/0\n-::1",
        b"10.1.2.3",
        b"-::ffff:10.0.0.0/104\n-10.0.0.0/33",
        b"+10.0.0.0/8/8\n-1.2.3.4/",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}
