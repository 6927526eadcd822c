//! `PcapCapture`: what is in the file, read by a small parser that checks every length, checksum and number.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tidegate::channel::Progress;
use tidegate::handler::pcap::{PcapCapture, PcapFile};
use tidegate::{
    EmbeddedChannel, Error, ErrorKind, EventLoopGroup, FileRegion, Message, OptionSet,
    ServerBootstrap,
};

use crate::common::telling::told;
use crate::common::{inbound, outbound};

/// Memory that stays when the capture is gone.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    pub fn packets(&self) -> Vec<Packet> {
        parse(&self.0.lock().unwrap())
    }

    /// One line for each packet: `> ` from the channel's end, given by its address, `< ` to it.
    fn lines(&self, local: &str) -> Vec<String> {
        self.packets()
            .iter()
            .map(|packet| {
                let arrow = if packet.from == local { '>' } else { '<' };
                let Packet {
                    flags, seq, ack, ..
                } = packet;
                let text = String::from_utf8_lossy(&packet.payload);
                format!("{arrow} {flags} {seq} {ack} {text}")
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }
}

pub struct Packet {
    pub at: Duration,
    pub from: String,
    pub to: String,
    /// Of the IP header.
    pub class: u8,
    /// Of TCP, or "UDP".
    pub flags: String,
    /// Zero with UDP, as the acknowledgement.
    pub seq: u32,
    pub ack: u32,
    pub payload: Vec<u8>,
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes[..2].try_into().unwrap())
}

/// RFC 1071, as plainly as possible.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 = 0;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn parse(mut file: &[u8]) -> Vec<Packet> {
    assert_eq!(le32(file), 0xa1b2_3c4d, "nanoseconds, little-endian");
    assert_eq!(&file[4..8], [2, 0, 4, 0], "version 2.4");
    assert_eq!(&file[8..16], [0; 8]);
    let snap_len = le32(&file[16..]);
    assert_eq!(le32(&file[20..]), 101, "raw IP");
    file = &file[24..];
    let mut packets = Vec::new();
    while !file.is_empty() {
        let at = Duration::new(le32(file).into(), le32(&file[4..]));
        assert!(le32(&file[4..]) < 1_000_000_000);
        let len = le32(&file[8..]);
        assert!(len == le32(&file[12..]) && len <= snap_len);
        let (packet, rest) = file[16..].split_at(len as usize);
        file = rest;
        packets.push(parse_ip(at, packet));
    }
    packets
}

fn parse_ip(at: Duration, packet: &[u8]) -> Packet {
    let (protocol, class, from, to, inner) = match packet[0] >> 4 {
        4 => {
            assert_eq!(packet[0], 0x45, "no options");
            assert_eq!(usize::from(be16(&packet[2..])), packet.len());
            assert_eq!(checksum(&[&packet[..20]]), 0);
            let addresses = (&packet[12..16], &packet[16..20]);
            (
                packet[9],
                packet[1],
                addresses.0,
                addresses.1,
                &packet[20..],
            )
        }
        6 => {
            assert_eq!(usize::from(be16(&packet[4..])), packet.len() - 40);
            let class = packet[0] << 4 | packet[1] >> 4;
            let addresses = (&packet[8..24], &packet[24..40]);
            (packet[6], class, addresses.0, addresses.1, &packet[40..])
        }
        other => panic!("IP version {other}"),
    };
    let len = u32::try_from(inner.len()).unwrap().to_be_bytes();
    let pseudo = [0, 0, 0, protocol];
    assert_eq!(
        checksum(&[from, to, &len, &pseudo, inner]),
        0,
        "of {protocol}"
    );
    let address = |ip: &[u8], port: &[u8]| {
        let port = be16(port);
        match <[u8; 4]>::try_from(ip) {
            Ok(v4) => std::net::SocketAddr::from((v4, port)),
            Err(_) => (<[u8; 16]>::try_from(ip).unwrap(), port).into(),
        }
        .to_string()
    };
    let (from, to) = (address(from, inner), address(to, &inner[2..]));
    if protocol == 17 {
        assert_eq!(usize::from(be16(&inner[4..])), inner.len());
        assert_ne!(be16(&inner[6..]), 0, "there is a checksum");
        return Packet {
            at,
            from,
            to,
            class,
            flags: "UDP".to_owned(),
            seq: 0,
            ack: 0,
            payload: inner[8..].to_vec(),
        };
    }
    assert_eq!(protocol, 6, "TCP");
    assert_eq!(inner[12], 5 << 4, "no options");
    let names = ["FIN", "SYN", "RST", "PSH", "ACK"];
    let flags: Vec<&str> = (0..5)
        .filter(|bit| inner[13] & (1 << bit) != 0)
        .map(|bit| names[bit])
        .collect();
    Packet {
        at,
        from,
        to,
        class,
        flags: flags.join("+"),
        seq: u32::from_be_bytes(inner[4..8].try_into().unwrap()),
        ack: u32::from_be_bytes(inner[8..12].try_into().unwrap()),
        payload: inner[20..].to_vec(),
    }
}

/// The capture's idea of an embedded channel's own end.
const OWN: &str = "192.0.2.1:49152";

fn embedded() -> (EmbeddedChannel, Memory, PcapFile) {
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let channel = EmbeddedChannel::new(|p| p.add_last(PcapCapture::new(&file))).unwrap();
    (channel, memory, file)
}

/// A whole connection: handshake, data both ways with numbers that fit, and the end that this side asked for.
#[test]
fn a_connection_from_syn_to_fin() {
    let before = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let (mut channel, memory, _file) = embedded();
    channel.write_outbound("ping!").unwrap();
    channel.write_inbound("pong").unwrap();
    assert_eq!(outbound(&mut channel), ["ping!"]);
    assert_eq!(inbound(&mut channel), ["pong"]);
    channel.finish().unwrap();
    assert_eq!(
        memory.lines(OWN),
        [
            "> SYN 0 0",
            "< SYN+ACK 0 1",
            "> ACK 1 1",
            "> PSH+ACK 1 1 ping!",
            "< ACK 1 6",
            "< PSH+ACK 1 6 pong",
            "> ACK 6 5",
            "> FIN+ACK 6 5",
            "< ACK 5 7",
            "< FIN+ACK 5 7",
            "> ACK 7 6",
        ]
    );
    let packets = memory.packets();
    assert!(packets.iter().all(|packet| packet.at >= before));
    assert!(packets.is_sorted_by_key(|packet| packet.at));
}

/// The peer may end the connection too, by FIN, or by a reset.
#[test]
fn the_peer_may_end_it() {
    let (mut channel, memory, _file) = embedded();
    channel.feed_eof();
    assert!(!channel.channel().is_open());
    assert_eq!(
        memory.lines(OWN)[3..],
        ["< FIN+ACK 1 1", "> ACK 1 2", "> FIN+ACK 1 2", "< ACK 2 2"]
    );

    let (mut channel, memory, _file) = embedded();
    channel.feed_error(Error::new(ErrorKind::ConnectionReset, "reset"));
    assert!(channel.check().is_err() && !channel.channel().is_open());
    assert_eq!(memory.lines(OWN)[3..], ["< RST+ACK 1 1"]);
}

/// Where one end has an IPv6 address both are shown so.
#[test]
fn families_are_not_mixed() {
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let mut channel =
        EmbeddedChannel::unconnected(&OptionSet::new(), |p| p.add_last(PcapCapture::new(&file)))
            .unwrap();
    channel.set_connect(Some(Progress::Done));
    channel.run(|channel| channel.connect("[2001:db8::2]:80", None));
    channel.write_outbound("odd").unwrap();
    channel.finish().unwrap();
    let packets = memory.packets();
    assert_eq!(packets[0].to, "[2001:db8::2]:80");
    assert_eq!(packets[0].from, "[::ffff:192.0.2.1]:49152");
    assert_eq!(packets[3].payload, b"odd");
}

/// Large buffers become several packets that a 16-bit length can describe.
#[test]
fn large_buffers_are_split() {
    let (mut channel, memory, _file) = embedded();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    channel.write_inbound(bytes.clone()).unwrap();
    channel.finish().unwrap();
    let packets = memory.packets();
    let data: Vec<_> = packets
        .iter()
        .filter(|packet| !packet.payload.is_empty())
        .collect();
    assert_eq!(data.len(), 4);
    let mut next = 1;
    for packet in &data {
        assert_eq!(packet.seq, next);
        next += packet.payload.len() as u32;
    }
    let all: Vec<u8> = data.iter().flat_map(|it| it.payload.clone()).collect();
    assert!(all == bytes);
}

/// A file region leaves a gap, and what is no bytes nothing; both pass.
#[test]
fn what_cannot_be_seen_leaves_a_gap() {
    let (mut channel, memory, _file) = embedded();
    let region = FileRegion::lazy("/nowhere", 0, 1000);
    channel.write_outbound(region).unwrap();
    channel.write_outbound(Message::new(7_u32)).unwrap();
    channel.write_outbound("x").unwrap();
    assert_eq!(outbound(&mut channel).len(), 3);
    channel.finish().unwrap();
    assert_eq!(memory.lines(OWN)[3], "> PSH+ACK 1001 1 x");
}

/// A writer that fails stops the capture, says so once, and costs no channel.
#[test]
fn a_failing_writer_stops_only_the_capture() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let lines = told(|| {
        let file = PcapFile::new(Full);
        let make = || EmbeddedChannel::new(|p| p.add_last(PcapCapture::new(&file))).unwrap();
        let (mut first, mut second) = (make(), make());
        first.write_inbound(vec![0; 100_000]).unwrap();
        assert!(!file.is_healthy());
        first.write_inbound("goes on").unwrap();
        second.write_outbound("goes on").unwrap();
        assert!(first.channel().is_open() && second.channel().is_open());
        assert_eq!(inbound(&mut first).len(), 2);
        first.finish().unwrap();
        second.finish().unwrap();
        file.flush();
    });
    let told = lines.iter().filter(|line| line.contains("capture failed"));
    assert_eq!(told.count(), 1, "{lines:?}");
}

/// What is buffered is written when a channel ends, when it is asked for, and when the capture goes; a pause leaves a gap.
#[test]
fn buffered_flushed_paused() {
    let (mut channel, memory, file) = embedded();
    assert!(memory.0.lock().unwrap().is_empty());
    file.flush();
    assert_eq!(memory.packets().len(), 3);
    channel.write_outbound("a").unwrap();
    file.pause();
    channel.write_outbound("unseen").unwrap();
    file.resume();
    channel.write_outbound("b").unwrap();
    assert_eq!(memory.packets().len(), 3);
    channel
        .pipeline(|p| p.remove_type::<PcapCapture>())
        .unwrap();
    assert_eq!(memory.lines(OWN)[5], "> PSH+ACK 8 1 b");

    // Added to a channel that is active.
    channel
        .pipeline(|p| p.add_first(PcapCapture::new(&file)))
        .unwrap();
    drop((channel, file));
    assert_eq!(memory.packets().len(), 7 + 3 + 4);
}

/// An accepted connection over real sockets: the peer begins it, and its addresses are in the packets.
#[test]
fn an_accepted_connection_has_its_addresses() {
    captured("127.0.0.1:0");
    // Not every machine has IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        captured("[::1]:0");
    }
}

fn captured(bind: &str) {
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let group = EventLoopGroup::new(1).unwrap();
    let captures = file.clone();
    let server = ServerBootstrap::new(&group, &group)
        .handler({
            let captures = file.clone();
            move |pipeline| pipeline.add_last(PcapCapture::new(&captures))
        })
        .child_handler(move |pipeline| {
            pipeline.add_last(PcapCapture::new(&captures))?;
            pipeline.add_last(Echo)
        })
        .bind(bind)
        .sync()
        .unwrap();
    let address = server.local_address().and_then(|at| at.as_inet()).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let own = client.local_addr().unwrap();
    client.write_all(b"the tide").unwrap();
    let mut echo = [0; 8];
    client.read_exact(&mut echo).unwrap();
    drop(client);
    server.close().sync().unwrap();
    let ended = group.shutdown_gracefully(Duration::ZERO, Duration::from_secs(10));
    ended.sync().unwrap();
    let packets = memory.packets();
    assert_eq!(packets[0].flags, "SYN");
    assert_eq!(packets[0].from, own.to_string());
    assert_eq!(packets[0].to, address.to_string());
    let text: Vec<_> = packets
        .iter()
        .filter(|packet| !packet.payload.is_empty())
        .map(|packet| (packet.from == own.to_string(), packet.payload.as_slice()))
        .collect();
    assert_eq!(text, [(true, &b"the tide"[..]), (false, &b"the tide"[..])]);
}

struct Echo;

impl tidegate::Handler for Echo {
    fn channel_read(
        &mut self,
        ctx: &mut tidegate::Context<'_>,
        msg: Message,
    ) -> tidegate::HandlerResult {
        ctx.write_and_flush(msg);
        Ok(())
    }
}
