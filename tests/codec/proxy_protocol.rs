//! PROXY headers, both versions, both ways. Sections are those of HAProxy's doc/proxy-protocol.txt.

use bytes::{Bytes, BytesMut};
use tidegate::codec::Decoder;
use tidegate::codec::proxy_protocol::{
    ProxyAddress, ProxyDecoder, ProxyEncoder, ProxyHeader, ProxyTransport, ProxyVersion, Tlv,
};
use tidegate::error::{Error, ErrorKind};

use crate::support::encoded;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header, and what is left; the same for every split of the input.
fn decode(input: &[u8]) -> Result<(ProxyHeader, Vec<u8>), Error> {
    let whole = decode_cut(input, input.len());
    for at in 0..input.len() {
        let cut = decode_cut(input, at);
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => assert_eq!(cut, whole, "cut at {at}"),
            (Err(whole), Err(cut)) => assert_eq!(cut.to_string(), whole.to_string(), "cut at {at}"),
            _ => panic!("cut at {at}: {cut:?}, and not {whole:?}"),
        }
    }
    whole
}

fn decode_cut(input: &[u8], at: usize) -> Result<(ProxyHeader, Vec<u8>), Error> {
    let mut decoder = ProxyDecoder::new();
    let mut src = BytesMut::from(&input[..at]);
    let mut header = decoder.decode(&mut src)?;
    src.extend_from_slice(&input[at..]);
    if header.is_none() {
        header = decoder.decode(&mut src)?;
    }
    assert!(
        decoder.decode(&mut src)?.is_none(),
        "one header, and no more"
    );
    let header = header.ok_or_else(|| Error::new(ErrorKind::Truncated, "no header"))?;
    Ok((header, src.to_vec()))
}

fn malformed(input: &[u8], words: &str) {
    let error = decode(input).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

fn v2(rest: &[u8]) -> Vec<u8> {
    [V2, rest].concat()
}

fn inet(address: &str) -> Option<ProxyAddress> {
    Some(ProxyAddress::Inet(address.parse().unwrap()))
}

#[test]
fn lines_of_version_1_are_read_and_what_follows_is_left_alone() {
    let (header, rest) = decode(b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\nGET /").unwrap();
    assert_eq!(header.source, inet("192.0.2.1:50000"));
    assert_eq!(header.destination, inet("192.0.2.2:443"));
    assert_eq!((header.version, header.proxied), (ProxyVersion::V1, true));
    assert_eq!(header.transport, ProxyTransport::Stream);
    assert_eq!(rest, b"GET /");
    let (header, _) = decode(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n").unwrap();
    assert_eq!(header.source, inet("[2001:db8::1]:0"));
    assert_eq!(header.destination, inet("[::1]:65535"));
    // 2.1: what follows UNKNOWN is to be ignored.
    let (header, rest) = decode(b"PROXY UNKNOWN ffff::1 whatever\r\nx").unwrap();
    assert_eq!(
        (header.source, header.transport),
        (None, ProxyTransport::Unspecified)
    );
    assert_eq!(rest, b"x");
    assert!(decode(b"PROXY UNKNOWN\r\n").is_ok());
}

#[test]
fn lines_that_are_wrong_say_how() {
    malformed(b"GET / HTTP/1.1\r\n", "byte 0 is 0x47");
    malformed(b"PROXX", "byte 4 is 0x58");
    malformed(b"PROXY TCP5 1 2 3 4\r\n", "none of TCP4, TCP6 and UNKNOWN");
    malformed(
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "no destination port",
    );
    malformed(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "more than two");
    malformed(b"PROXY TCP4 ::1 ::2 1 2\r\n", "not one of its protocol");
    malformed(
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "not one of its protocol",
    );
    malformed(
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "not one of its protocol",
    );
    for port in ["65536", "-1", "+1", "01", "", "x"] {
        let line = format!("PROXY TCP4 192.0.2.1 192.0.2.2 {port} 2\r\n");
        malformed(line.as_bytes(), "no number from 0 to 65535");
    }
    malformed(b"PROXY TCP4 \xff\r\n", "no text");
    malformed(
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat(),
        "no end within its 107 bytes",
    );
    assert!(decode(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat()).is_ok());
}

#[test]
fn headers_of_version_2_are_read_and_what_follows_is_left_alone() {
    let ipv4 = v2(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xc3\x50\x01\xbbrest");
    let (header, rest) = decode(&ipv4).unwrap();
    assert_eq!(
        header,
        ProxyHeader::tcp(
            "192.0.2.1:50000".parse().unwrap(),
            "192.0.2.2:443".parse().unwrap()
        )
    );
    assert_eq!(rest, b"rest");
    let datagrams = v2(&[
        &b"\x21\x32\0\xd8/run/a"[..],
        &[0; 102],
        b"\0abstract",
        &[0; 99],
    ]
    .concat());
    let (header, _) = decode(&datagrams).unwrap();
    assert_eq!(header.transport, ProxyTransport::Datagram);
    assert_eq!(
        header.source,
        Some(ProxyAddress::Unix(Bytes::from_static(b"/run/a")))
    );
    assert_eq!(
        header.destination,
        Some(ProxyAddress::Unix(Bytes::from_static(b"\0abstract")))
    );
}

#[test]
fn a_header_that_names_nobody_is_skipped_whole() {
    for (rest, proxied) in [
        (&b"\x20\x11\0\x03???"[..], false),
        (b"\x21\0\0\x03???", true),
        (b"\x20\0\0\0", false),
    ] {
        let (header, rest) = decode(&v2(&[rest, b"rest"].concat())).unwrap();
        assert_eq!(header, ProxyHeader::unknown(ProxyVersion::V2, proxied));
        assert_eq!(rest, b"rest");
    }
}

#[test]
fn headers_that_are_wrong_say_how() {
    malformed(b"\r\n\r\n\0\r\nQUIT\r", "byte 11 is 0x0d");
    malformed(&v2(b"\x11\x11\0\0"), "its version is 1");
    malformed(&v2(b"\x22\x11\0\0"), "2 is no command");
    malformed(&v2(b"\x21\x41\0\0"), "4 is no address family");
    malformed(&v2(b"\x21\x13\0\0"), "3 is no transport");
    malformed(
        &v2(b"\x21\x11\0\x0b12345678901"),
        "its 11 bytes are too few",
    );
    let addresses = b"\xc0\0\x02\x01\xc0\0\x02\x02\xc3\x50\x01\xbb";
    let tlvs =
        |tlvs: &[u8]| v2(&[b"\x21\x11\0", &[12 + tlvs.len() as u8][..], addresses, tlvs].concat());
    malformed(&tlvs(b"\x05\0"), "ends inside its extension of type 0x05");
    malformed(
        &tlvs(b"\x05\0\x02x"),
        "ends inside its extension of type 0x05",
    );
    malformed(&tlvs(b"\x03\0\x04\0\0\0\0"), "its checksum is wrong");
    malformed(&tlvs(b"\x03\0\x01\0"), "its checksum is not 4 bytes long");
}

#[test]
fn after_a_wrong_header_everything_is_discarded() {
    let mut decoder = ProxyDecoder::new();
    let mut src = BytesMut::from("GET /");
    assert!(decoder.decode(&mut src).is_err());
    src.extend_from_slice(b"PROXY UNKNOWN\r\n");
    assert_eq!(decoder.decode(&mut src).unwrap(), None);
    assert!(src.is_empty());
}

#[test]
fn extensions_travel_both_ways_and_so_does_tls() {
    let tlv = |kind, value: &'static [u8]| Tlv {
        kind,
        value: Bytes::from_static(value),
    };
    let mut header = ProxyHeader::tcp(
        "[2001:db8::1]:1".parse().unwrap(),
        "[::1]:2".parse().unwrap(),
    );
    header.tlvs = vec![
        tlv(Tlv::ALPN, b"h2"),
        tlv(Tlv::SSL, b"\x05\0\0\0\0\x21\0\x07TLSv1.3"),
        tlv(Tlv::AUTHORITY, b"example.org"),
        tlv(0xe0, b""),
    ];
    for mut encoder in [ProxyEncoder::new(), ProxyEncoder::new().checksum()] {
        let (read, rest) = decode(&encoded(&mut encoder, &header).unwrap()).unwrap();
        assert_eq!((&read, rest.len()), (&header, 0));
        assert_eq!(read.tlv(Tlv::AUTHORITY).unwrap(), "example.org");
        let ssl = read.ssl().unwrap().unwrap();
        assert_eq!((ssl.client, ssl.verified), (5, true));
        assert_eq!(ssl.tlv(Tlv::SSL_VERSION).unwrap(), "TLSv1.3");
    }
    header.tlvs = vec![tlv(Tlv::SSL, b"\x01")];
    assert_eq!(header.ssl().unwrap_err().kind(), ErrorKind::Malformed);
    let mut broken = encoded(&mut ProxyEncoder::new().checksum(), &header).unwrap();
    broken[20] ^= 1;
    malformed(&broken, "checksum is wrong");
}

#[test]
fn what_was_written_is_read_again() {
    let mut v1 = ProxyHeader::tcp(
        "192.0.2.1:50000".parse().unwrap(),
        "192.0.2.2:443".parse().unwrap(),
    );
    v1.version = ProxyVersion::V1;
    let line = encoded(&mut ProxyEncoder::new(), &v1).unwrap();
    assert_eq!(line, b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n");
    assert_eq!(decode(&line).unwrap().0, v1);
    let mut unix = ProxyHeader::tcp("[::1]:1".parse().unwrap(), "[::2]:2".parse().unwrap());
    unix.source = Some(ProxyAddress::Unix(Bytes::from_static(b"/a")));
    unix.destination = Some(ProxyAddress::Unix(Bytes::from_static(&[b'/'; 108])));
    unix.transport = ProxyTransport::Datagram;
    for header in [
        unix,
        ProxyHeader::unknown(ProxyVersion::V1, true),
        ProxyHeader::unknown(ProxyVersion::V2, true),
        ProxyHeader::unknown(ProxyVersion::V2, false),
    ] {
        let bytes = encoded(&mut ProxyEncoder::new(), &header).unwrap();
        assert_eq!(decode(&bytes).unwrap().0, header);
    }
}

#[test]
fn what_a_version_cannot_say_is_refused() {
    let mut mixed = ProxyHeader::tcp("192.0.2.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        mixed.version = version;
        let error = encoded(&mut ProxyEncoder::new(), &mixed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencodable, "{error}");
    }
    let mut header = ProxyHeader::tcp("[::1]:1".parse().unwrap(), "[::2]:2".parse().unwrap());
    header.tlvs = vec![Tlv {
        kind: 0xe0,
        value: Bytes::from(vec![0; 65_500]),
    }];
    assert!(
        encoded(&mut ProxyEncoder::new(), &header).is_err(),
        "65,539 bytes"
    );
    header.version = ProxyVersion::V1;
    assert!(
        encoded(&mut ProxyEncoder::new(), &header).is_err(),
        "an extension"
    );
}
