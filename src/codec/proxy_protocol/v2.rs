//! Version 2: sixteen bytes, the two addresses, and extensions.
//!
//! ```text
//! 12 bytes signature | version 4 bits | command 4 | family 4 | transport 4 | 16 bits: length of what follows
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::crc32c::crc32c;
use super::header::{ProxyAddress, ProxyHeader, ProxyTransport, ProxyVersion, Tlv};
use crate::error::{Error, ErrorKind};

/// How each header begins: nothing that another protocol begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const HEAD: usize = 16;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPEC: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

/// The room for a Unix path.
const PATH: usize = 108;

/// The length of the header that `src` begins with; `None` if it has not all come.
pub(super) fn measure(src: &[u8]) -> Result<Option<usize>, Error> {
    let Some(&head) = src.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let whole = HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    Ok((src.len() >= whole).then_some(whole))
}

/// Reads a whole header.
pub(super) fn parse(whole: Bytes) -> Result<ProxyHeader, Error> {
    let (version, command) = (whole[12] >> 4, whole[12] & 0xf);
    let (family, transport) = (whole[13] >> 4, whole[13] & 0xf);
    if version != VERSION {
        return Err(malformed(format!("its version is {version} and not 2")));
    }
    let transport = match transport {
        0 => ProxyTransport::Unspecified,
        1 => ProxyTransport::Stream,
        2 => ProxyTransport::Datagram,
        other => return Err(malformed(format!("{other} is no transport"))),
    };
    if family > UNIX {
        return Err(malformed(format!("{family} is no address family")));
    }
    if command > PROXY {
        return Err(malformed(format!("{command} is no command")));
    }
    if command == LOCAL || family == UNSPEC || transport == ProxyTransport::Unspecified {
        // What follows is to be skipped (2.2).
        return Ok(ProxyHeader::unknown(ProxyVersion::V2, command == PROXY));
    }
    let mut rest = whole.slice(HEAD..);
    let (source, destination) = addresses(family, &mut rest)?;
    let mut tlvs = Tlv::parse_all(rest)?;
    check_sum(&whole, &tlvs)?;
    tlvs.retain(|tlv| !matches!(tlv.kind, Tlv::CRC32C | Tlv::NOOP));
    Ok(ProxyHeader {
        version: ProxyVersion::V2,
        proxied: true,
        transport,
        source: Some(source),
        destination: Some(destination),
        tlvs,
    })
}

fn addresses(family: u8, rest: &mut Bytes) -> Result<(ProxyAddress, ProxyAddress), Error> {
    let needed = match family {
        INET => 2 * (4 + 2),
        INET6 => 2 * (16 + 2),
        _ => 2 * PATH,
    };
    if rest.len() < needed {
        return Err(malformed(format!(
            "its {} bytes are too few for two addresses",
            rest.len()
        )));
    }
    Ok(match family {
        INET => {
            let source = Ipv4Addr::from(rest.get_u32());
            let destination = Ipv4Addr::from(rest.get_u32());
            ports(source.into(), destination.into(), rest)
        }
        INET6 => {
            let source = Ipv6Addr::from(rest.get_u128());
            let destination = Ipv6Addr::from(rest.get_u128());
            ports(source.into(), destination.into(), rest)
        }
        _ => (path(rest), path(rest)),
    })
}

fn ports(
    source: std::net::IpAddr,
    destination: std::net::IpAddr,
    rest: &mut Bytes,
) -> (ProxyAddress, ProxyAddress) {
    let source = SocketAddr::new(source, rest.get_u16());
    let destination = SocketAddr::new(destination, rest.get_u16());
    (ProxyAddress::Inet(source), ProxyAddress::Inet(destination))
}

fn path(rest: &mut Bytes) -> ProxyAddress {
    let mut path = rest.split_to(PATH);
    // An abstract name begins with a zero, so only those behind it are padding.
    let used = path.iter().rposition(|byte| *byte != 0);
    path.truncate(used.map_or(0, |last| last + 1));
    ProxyAddress::Unix(path)
}

/// The checksum is one over the header with zeros in its own place (2.2.3).
fn check_sum(whole: &Bytes, tlvs: &[Tlv]) -> Result<(), Error> {
    let Some(sum) = tlvs.iter().find(|tlv| tlv.kind == Tlv::CRC32C) else {
        return Ok(());
    };
    let Some(&said) = sum
        .value
        .first_chunk::<4>()
        .filter(|_| sum.value.len() == 4)
    else {
        return Err(malformed("its checksum is not 4 bytes long".into()));
    };
    // The value is a part of `whole`.
    let at = sum.value.as_ptr() as usize - whole.as_ptr() as usize;
    let bytes = whole.iter().enumerate().map(
        |(i, byte)| {
            if (at..at + 4).contains(&i) { 0 } else { *byte }
        },
    );
    if crc32c(bytes) != u32::from_be_bytes(said) {
        return Err(malformed("its checksum is wrong".into()));
    }
    Ok(())
}

#[cold]
fn malformed(what: String) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the peer's PROXY header is wrong: {what}"),
    )
}

/// Writes the header, with a checksum if asked for. What was written when it fails is cut off by the caller.
pub(super) fn write(header: &ProxyHeader, sum: bool, dst: &mut BytesMut) -> Result<(), Error> {
    let begin = dst.len();
    dst.put_slice(SIGNATURE);
    dst.put_u8(VERSION << 4 | if header.proxied { PROXY } else { LOCAL });
    let family = match (&header.source, &header.destination) {
        (None, None) => UNSPEC,
        (
            Some(ProxyAddress::Inet(SocketAddr::V4(_))),
            Some(ProxyAddress::Inet(SocketAddr::V4(_))),
        ) => INET,
        (
            Some(ProxyAddress::Inet(SocketAddr::V6(_))),
            Some(ProxyAddress::Inet(SocketAddr::V6(_))),
        ) => INET6,
        (Some(ProxyAddress::Unix(_)), Some(ProxyAddress::Unix(_))) => UNIX,
        _ => return Err(unencodable("wants two addresses of one family, or none")),
    };
    let transport = match header.transport {
        ProxyTransport::Unspecified => 0,
        ProxyTransport::Stream => 1,
        ProxyTransport::Datagram => 2,
    };
    dst.put_u8(family << 4 | transport);
    let length_at = dst.len();
    dst.put_u16(0);
    for address in [&header.source, &header.destination].into_iter().flatten() {
        match address {
            ProxyAddress::Inet(SocketAddr::V4(address)) => dst.put_slice(&address.ip().octets()),
            ProxyAddress::Inet(SocketAddr::V6(address)) => dst.put_slice(&address.ip().octets()),
            ProxyAddress::Unix(path) if path.len() <= PATH => {
                dst.put_slice(path);
                dst.put_bytes(0, PATH - path.len());
            }
            ProxyAddress::Unix(_) => return Err(unencodable("has room for paths of 108 bytes")),
        }
    }
    for address in [&header.source, &header.destination].into_iter().flatten() {
        if let ProxyAddress::Inet(address) = address {
            dst.put_u16(address.port());
        }
    }
    for tlv in &header.tlvs {
        put_tlv(tlv.kind, &tlv.value, dst)?;
    }
    if sum {
        put_tlv(Tlv::CRC32C, &[0; 4], dst)?;
    }
    let length = u16::try_from(dst.len() - begin - HEAD)
        .map_err(|_| unencodable("has room for 65535 bytes of addresses and extensions"))?;
    dst[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    if sum {
        let crc = crc32c(dst[begin..].iter().copied());
        let at = dst.len() - 4;
        dst[at..].copy_from_slice(&crc.to_be_bytes());
    }
    Ok(())
}

fn put_tlv(kind: u8, value: &[u8], dst: &mut BytesMut) -> Result<(), Error> {
    let length = u16::try_from(value.len())
        .map_err(|_| unencodable("has room for extensions of 65535 bytes"))?;
    dst.put_u8(kind);
    dst.put_u16(length);
    dst.put_slice(value);
    Ok(())
}

#[cold]
fn unencodable(what: &str) -> Error {
    Error::new(
        ErrorKind::Unencodable,
        format!("version 2 of the PROXY protocol {what}"),
    )
}
