//! The pcap file format (draft-ietf-opsawg-pcap) with packets of raw IP, and the headers of the packets: IPv4 (RFC 791),
//! IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768). Called by `stream`, `capture` and `file`; it knows nothing of channels, and
//! splits nothing: a payload of TCP is at most [`PAYLOAD_MAX`] bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The most that a packet may carry, with the larger of the two IP headers: the lengths in the headers have 16 bits.
pub(super) const PAYLOAD_MAX: usize = 65_535 - IPV6_LEN - TCP_LEN;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const TTL: u8 = 64;

/// Time stamps in nanoseconds; the order of its bytes tells that all numbers of pcap are little-endian here.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
/// No packet is longer; tcpdump's figure.
const SNAP_LEN: u32 = 262_144;

/// One segment of a connection.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

/// One datagram.
#[derive(Clone, Copy)]
pub(super) struct UdpPacket<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Traffic class, or type of service.
    pub(super) class: u8,
    pub(super) payload: &'a [u8],
}

/// What a file begins with.
pub(super) fn file_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAP_LEN.to_le_bytes());
    header[20..].copy_from_slice(&LINKTYPE_RAW.to_le_bytes());
    header
}

/// Appends the record of a segment. `at` counts from the beginning of 1970, UTC.
pub(super) fn record(out: &mut Vec<u8>, at: Duration, segment: &Segment<'_>) {
    debug_assert!(
        segment.payload.len() <= PAYLOAD_MAX,
        "the caller splits payloads"
    );
    let ends = Ends::new(segment.from, segment.to);
    let pseudo = ends.record(out, at, PROTOCOL_TCP, 0, TCP_LEN + segment.payload.len());
    let start = out.len();
    out.extend(segment.from.port().to_be_bytes());
    out.extend(segment.to.port().to_be_bytes());
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    out.extend([(TCP_LEN as u8 / 4) << 4, segment.flags]);
    // The window, the checksum, no urgent data.
    out.extend([0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(segment.payload);
    let checksum = !fold(sum(pseudo, &out[start..]));
    out[start + 16..start + 18].copy_from_slice(&checksum.to_be_bytes());
}

/// Appends the record of a datagram, if there can be a packet of its length: 65,507 bytes with IPv4, 65,527 with IPv6.
pub(super) fn udp_record(out: &mut Vec<u8>, at: Duration, packet: &UdpPacket<'_>) {
    let ends = Ends::new(packet.from, packet.to);
    let len = UDP_LEN + packet.payload.len();
    if len > ends.payload_max() {
        return;
    }
    let pseudo = ends.record(out, at, PROTOCOL_UDP, packet.class, len);
    let start = out.len();
    out.extend(packet.from.port().to_be_bytes());
    out.extend(packet.to.port().to_be_bytes());
    out.extend((len as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend_from_slice(packet.payload);
    // Zero would mean that there is none; the sum is the same.
    let checksum = match !fold(sum(pseudo, &out[start..])) {
        0 => 0xffff,
        checksum => checksum,
    };
    out[start + 6..start + 8].copy_from_slice(&checksum.to_be_bytes());
}

/// From where to where a packet goes, in one family.
enum Ends {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// IPv4 addresses in their IPv6 form if the families differ.
    fn new(from: SocketAddr, to: SocketAddr) -> Self {
        match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Self::V4(from, to),
            (from, to) => Self::V6(mapped(from), mapped(to)),
        }
    }

    /// The most bytes behind the IP header: what its field for the length can say, which with IPv4 counts the header too.
    fn payload_max(&self) -> usize {
        match self {
            Self::V4(..) => usize::from(u16::MAX) - IPV4_LEN,
            Self::V6(..) => usize::from(u16::MAX),
        }
    }

    /// Appends the headers of a record and of its packet, which `len` bytes of `protocol` have to follow. Gives the sum of
    /// what their checksum covers beside them.
    fn record(&self, out: &mut Vec<u8>, at: Duration, protocol: u8, class: u8, len: usize) -> u64 {
        let ip_len = match self {
            Self::V4(..) => IPV4_LEN,
            Self::V6(..) => IPV6_LEN,
        };
        let packet_len = ((ip_len + len) as u32).to_le_bytes();
        // The field has 32 bits: until 2106.
        out.extend((at.as_secs() as u32).to_le_bytes());
        out.extend(at.subsec_nanos().to_le_bytes());
        out.extend(packet_len);
        out.extend(packet_len);
        let addresses = match self {
            Self::V4(from, to) => {
                let start = out.len();
                out.extend([0x45, class]);
                out.extend(((IPV4_LEN + len) as u16).to_be_bytes());
                // No identification, don't fragment.
                out.extend([0, 0, 0x40, 0, TTL, protocol, 0, 0]);
                out.extend(from.octets());
                out.extend(to.octets());
                let checksum = !fold(sum(0, &out[start..]));
                out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
                sum(sum(0, &from.octets()), &to.octets())
            }
            Self::V6(from, to) => {
                // The class lies across two bytes, behind the version.
                out.extend([0x60 | class >> 4, class << 4, 0, 0]);
                out.extend((len as u16).to_be_bytes());
                out.extend([protocol, TTL]);
                out.extend(from.octets());
                out.extend(to.octets());
                sum(sum(0, &from.octets()), &to.octets())
            }
        };
        addresses + u64::from(protocol) + len as u64
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The sum of 16-bit words that RFC 1071 folds into a checksum.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let words = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)));
    start + words.sum::<u64>() + last
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3.
    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(0, &bytes)), 0xddf2);
        assert_eq!(fold(sum(0, &[0x12])), 0x1200, "an odd byte is padded");
    }

    #[test]
    fn families_are_not_mixed() {
        let v4: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        assert!(matches!(Ends::new(v4, v4), Ends::V4(..)));
        match Ends::new(v4, v6) {
            Ends::V6(from, to) => {
                assert_eq!(from.to_string(), "::ffff:192.0.2.1");
                assert_eq!(to, Ipv6Addr::LOCALHOST);
            }
            Ends::V4(..) => panic!("an IPv6 address"),
        }
    }

    /// As long as its length can be told, and no longer.
    #[test]
    fn datagrams_end_where_packets_do() {
        for (address, most) in [("192.0.2.1:1", 65_507), ("[::1]:1", 65_527)] {
            let end: SocketAddr = address.parse().unwrap();
            let len = |bytes: usize| {
                let mut out = Vec::new();
                let packet = UdpPacket {
                    from: end,
                    to: end,
                    class: 0,
                    payload: &vec![1; bytes],
                };
                udp_record(&mut out, Duration::ZERO, &packet);
                out.len()
            };
            assert!(len(most) > most, "{address}");
            assert_eq!(len(most + 1), 0, "{address}");
        }
    }

    /// A sum of zero is written as the other zero: for UDP zero means that nobody has summed (RFC 768).
    #[test]
    fn a_checksum_of_udp_is_never_zero() {
        let end: SocketAddr = "0.0.0.0:0".parse().unwrap();
        // 17, the length twice, and this are 0xffff.
        let payload = (0xffff - 17 - 2 * 10_u16).to_be_bytes();
        let mut out = Vec::new();
        let packet = UdpPacket {
            from: end,
            to: end,
            class: 0,
            payload: &payload,
        };
        udp_record(&mut out, Duration::ZERO, &packet);
        let udp = &out[out.len() - 10..];
        assert_eq!(udp[6..8], [0xff, 0xff]);
    }
}
