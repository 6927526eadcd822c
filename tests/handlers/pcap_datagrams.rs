//! `PcapCapture` on channels of datagrams: each is a UDP packet, and nothing is made up around them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidegate::buffer::IntoMessage;
use tidegate::channel::options::{IP_PKTINFO, IP_RECVTOS, IP_TOS, MAX_DATAGRAM_PAYLOAD_SIZE};
use tidegate::handler::pcap::{PcapCapture, PcapFile};
use tidegate::transport::udp::{Datagram, Udp};
use tidegate::transport::unix::{UnixAddress, UnixDatagram};
use tidegate::{
    Bootstrap, Channel, Context, EmbeddedChannel, Error, EventLoopGroup, Handler, HandlerResult,
    Message,
};

use crate::pcap::Memory;

const DEADLINE: Duration = Duration::from_secs(20);

/// Tells the test that something was read.
struct Ear(Sender<()>);

impl Handler for Ear {
    fn channel_read(&mut self, _: &mut Context<'_>, _: Message) -> HandlerResult {
        // The test may have heard enough.
        let _ = self.0.send(());
        Ok(())
    }
}

/// A bound UDP channel, its capture, and a sign for each datagram that it has read.
fn captured(group: &EventLoopGroup, local: &str) -> (Channel, Memory, Receiver<()>) {
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let (tell, heard) = mpsc::channel();
    let channel = Bootstrap::new(group)
        .transport::<Udp>()
        .option(IP_PKTINFO, true)
        .option(IP_RECVTOS, true)
        .option(MAX_DATAGRAM_PAYLOAD_SIZE, 65_535)
        .handler(move |pipeline| {
            pipeline.add_last(PcapCapture::new(&file))?;
            pipeline.add_last(Ear(tell.clone()))
        })
        .bind(local)
        .sync_timeout(DEADLINE)
        .expect("bound");
    (channel, memory, heard)
}

fn port(channel: &Channel) -> u16 {
    let local = channel.local_address().expect("it is bound");
    local.as_inet().expect("a socket address").port()
}

fn write(channel: &Channel, msg: impl IntoMessage) {
    let written = channel.write_and_flush(msg);
    written.sync_timeout(DEADLINE).expect("sent");
}

/// Closes the channels; what they captured is written then.
fn end(group: &EventLoopGroup) {
    group.stop();
    assert!(group.await_termination(DEADLINE).expect("not a loop"));
}

/// What is in the capture: from, to, bytes.
fn lines(memory: &Memory) -> Vec<(String, String, Vec<u8>)> {
    let packets = memory.packets().into_iter();
    packets
        .map(|packet| {
            assert_eq!(packet.flags, "UDP");
            (packet.from, packet.to, packet.payload)
        })
        .collect()
}

fn over(loopback: &str, any: &str) {
    let group = EventLoopGroup::new(1).expect("a group");
    let (channel, memory, heard) = captured(&group, any);
    let peer = |index: u8| {
        let socket = UdpSocket::bind(format!("{loopback}:0")).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let address = socket.local_addr().expect("it is bound");
        (socket, address, [index; 3])
    };
    let (first, second) = (peer(1), peer(2));
    let own = format!("{loopback}:{}", port(&channel));
    let bound = format!("{}:{}", any.trim_end_matches(":0"), port(&channel));
    let own_address: SocketAddr = own.parse().expect("an address");

    // In: to the address that it was sent to. Out: from the one that it is bound to, which is any.
    first.0.send_to(&first.2, own_address).expect("sent");
    heard.recv_timeout(DEADLINE).expect("read");
    write(&channel, Message::new(Datagram::new(vec![9], second.1)));
    // Connected, bytes go to the peer, which may become another one.
    for (_, address, bytes) in [&first, &second] {
        let connected = channel.connect(*address, None);
        connected.sync_timeout(DEADLINE).expect("connected");
        write(&channel, bytes.to_vec());
    }
    // An empty one is one.
    write(&channel, Vec::new());
    second.0.send_to(&[], own_address).expect("sent");
    heard.recv_timeout(DEADLINE).expect("read");
    end(&group);

    let line =
        |from: &str, to: &str, bytes: &[u8]| (from.to_owned(), to.to_owned(), bytes.to_vec());
    let (one, two) = (first.1.to_string(), second.1.to_string());
    let expected = [
        line(&one, &own, &first.2),
        line(&bound, &two, &[9]),
        line(&own, &one, &first.2),
        line(&own, &two, &second.2),
        line(&own, &two, &[]),
        line(&two, &own, &[]),
    ];
    assert_eq!(lines(&memory), expected);
}

#[test]
fn datagrams_are_udp_packets_over_ipv4() {
    over("127.0.0.1", "0.0.0.0:0");
}

#[test]
fn datagrams_are_udp_packets_over_ipv6() {
    // Not every machine has it.
    if UdpSocket::bind("[::1]:0").is_ok() {
        over("[::1]", "[::]:0");
    }
}

/// The longest packet there is, and its class.
#[test]
fn a_long_datagram_is_one_packet_with_its_class() {
    let group = EventLoopGroup::new(1).expect("a group");
    let (receiver, memory, heard) = captured(&group, "127.0.0.1:0");
    let bytes: Vec<u8> = (0..65_507_u32).map(|n| n as u8).collect();
    let sender = Bootstrap::new(&group)
        .transport::<Udp>()
        .option(IP_TOS, 0x28)
        .handler(|_| Ok::<(), Error>(()))
        .bind("127.0.0.1:0")
        .sync_timeout(DEADLINE)
        .expect("bound");
    let to = SocketAddr::from(([127, 0, 0, 1], port(&receiver)));
    write(&sender, Message::new(Datagram::new(bytes.clone(), to)));
    heard.recv_timeout(DEADLINE).expect("read");
    end(&group);
    let packets = memory.packets();
    assert_eq!(packets.len(), 1);
    assert!(packets[0].payload == bytes);
    assert_eq!(packets[0].class, 0x28);
}

/// Addresses that are none of the internet's are made up, one pair for a channel.
#[test]
fn datagrams_of_the_unix_domain_are_shown_between_made_up_addresses() {
    let group = EventLoopGroup::new(1).expect("a group");
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let folder = std::env::temp_dir();
    let path = folder.join(format!("tidegate-pcap-{}", std::process::id()));
    let name = UnixAddress::path(&path);
    let channel = Bootstrap::new(&group)
        .transport::<UnixDatagram>()
        .handler(move |pipeline| pipeline.add_last(PcapCapture::new(&file)))
        .bind(name.clone())
        .sync_timeout(DEADLINE)
        .expect("bound");
    for text in ["to", "itself"] {
        write(&channel, Message::new(Datagram::new(text, name.clone())));
    }
    end(&group);
    let (own, peer) = ("192.0.2.1:49152", "192.0.2.2:49152");
    let sent: Vec<_> = lines(&memory)
        .into_iter()
        .filter(|(from, ..)| from == own)
        .map(|(_, to, bytes)| (to, String::from_utf8_lossy(&bytes).into_owned()))
        .collect();
    let line = |text: &str| (peer.to_owned(), text.to_owned());
    assert_eq!(sent, [line("to"), line("itself")]);
}

/// A datagram on a channel that carries anything, as tests of handlers have it.
#[test]
fn a_datagram_on_an_embedded_channel_is_a_udp_packet_too() {
    let memory = Memory::default();
    let file = PcapFile::new(memory.clone());
    let mut channel =
        EmbeddedChannel::new(|p| p.add_last(PcapCapture::new(&file))).expect("a channel");
    let question = Datagram::new("?", "203.0.113.7:53");
    channel
        .write_inbound(Message::new(question.clone()))
        .expect("it passes");
    channel
        .write_outbound(Message::new(question.reply("!")))
        .expect("it passes");
    channel.finish().expect("no errors");
    let datagrams: Vec<_> = memory
        .packets()
        .into_iter()
        .filter(|packet| packet.flags == "UDP")
        .map(|packet| (packet.from, packet.to, packet.payload))
        .collect();
    let (own, asker) = ("192.0.2.1:49152".to_owned(), "203.0.113.7:53".to_owned());
    assert_eq!(
        datagrams,
        [
            (asker.clone(), own.clone(), b"?".to_vec()),
            (own, asker, b"!".to_vec())
        ]
    );
}
