//! The pcap file format (draft-ietf-opsawg-pcap) with packets of raw IP, and the headers of the packets: IPv4 (RFC 791),
//! IPv6 (RFC 8200), TCP (RFC 9293). Called by `stream` and `file`; it knows nothing of channels, and splits nothing: a
//! payload is at most [`PAYLOAD_MAX`] bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
const PROTOCOL_TCP: u8 = 6;
const TTL: u8 = 64;

/// Time stamps in nanoseconds; the order of its bytes tells that all numbers of pcap are little-endian here.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Packets begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
const SNAP_LEN: u32 = 65_535;

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

/// Appends a record. `at` counts from the beginning of 1970, UTC.
pub(super) fn record(out: &mut Vec<u8>, at: Duration, segment: &Segment<'_>) {
    debug_assert!(
        segment.payload.len() <= PAYLOAD_MAX,
        "the caller splits payloads"
    );
    let (from, to) = one_family(segment.from.ip(), segment.to.ip());
    let ip_len = if from.is_ipv4() { IPV4_LEN } else { IPV6_LEN };
    let len = (ip_len + TCP_LEN + segment.payload.len()) as u32;
    // The field has 32 bits: until 2106.
    out.extend((at.as_secs() as u32).to_le_bytes());
    out.extend(at.subsec_nanos().to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(len.to_le_bytes());
    let tcp_len = (TCP_LEN + segment.payload.len()) as u16;
    let pseudo = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let start = out.len();
            out.extend([0x45, 0]);
            out.extend((IPV4_LEN as u16 + tcp_len).to_be_bytes());
            // No identification, don't fragment.
            out.extend([0, 0, 0x40, 0, TTL, PROTOCOL_TCP, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let checksum = !fold(sum(0, &out[start..]));
            out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
            sum(sum(0, &from.octets()), &to.octets())
        }
        (from, to) => {
            let (from, to) = (mapped(from), mapped(to));
            out.extend([0x60, 0, 0, 0]);
            out.extend(tcp_len.to_be_bytes());
            out.extend([PROTOCOL_TCP, TTL]);
            out.extend(from.octets());
            out.extend(to.octets());
            sum(sum(0, &from.octets()), &to.octets())
        }
    };
    let pseudo = pseudo + u64::from(PROTOCOL_TCP) + u64::from(tcp_len);
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

/// Both addresses in the same family; IPv4 ones in their IPv6 form if they differ.
fn one_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    if from.is_ipv4() == to.is_ipv4() {
        (from, to)
    } else {
        (mapped(from).into(), mapped(to).into())
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
        let v4: IpAddr = [192, 0, 2, 1].into();
        let v6: IpAddr = Ipv6Addr::LOCALHOST.into();
        assert_eq!(one_family(v4, v4), (v4, v4));
        let (from, to) = one_family(v4, v6);
        assert_eq!(from.to_string(), "::ffff:192.0.2.1");
        assert_eq!(to, v6);
    }
}
