//! Version 1: one line of text, `PROXY TCP4 192.0.2.1 192.0.2.2 50000 443` and CRLF.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str;

use bytes::BytesMut;
use memchr::memmem;

use super::header::{ProxyAddress, ProxyHeader, ProxyTransport, ProxyVersion};
use crate::error::{Error, ErrorKind};

/// How each such line begins.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, CRLF included (2.1).
pub(super) const LINE_MAX: usize = 107;

/// The length of the line that `src` begins with, CRLF included; `None` if it has not ended.
pub(super) fn measure(src: &[u8]) -> Result<Option<usize>, Error> {
    match memmem::find(&src[..src.len().min(LINE_MAX)], b"\r\n") {
        Some(at) => Ok(Some(at + 2)),
        None if src.len() < LINE_MAX => Ok(None),
        None => Err(malformed("it has no end within its 107 bytes")),
    }
}

/// Reads a line, given with its CRLF.
pub(super) fn parse(line: &[u8]) -> Result<ProxyHeader, Error> {
    let text = line
        .strip_suffix(b"\r\n")
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or_else(|| malformed("it is no text"))?;
    let mut words = text.split(' ').skip(1);
    let mut word = |what| words.next().ok_or_else(|| malformed(what));
    let family = word("it names no protocol")?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(ProxyHeader::unknown(ProxyVersion::V1, true));
    }
    if !matches!(family, "TCP4" | "TCP6") {
        return Err(malformed("its protocol is none of TCP4, TCP6 and UNKNOWN"));
    }
    let source = address(family, word("it has no source address")?)?;
    let destination = address(family, word("it has no destination address")?)?;
    let source_port = port(word("it has no source port")?)?;
    let destination_port = port(word("it has no destination port")?)?;
    if words.next().is_some() {
        return Err(malformed("it has more than two addresses and two ports"));
    }
    let mut header = ProxyHeader::tcp(
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    );
    header.version = ProxyVersion::V1;
    Ok(header)
}

fn address(family: &str, word: &str) -> Result<IpAddr, Error> {
    let address = match family {
        "TCP4" => word.parse().map(IpAddr::V4).ok(),
        _ => word.parse().map(IpAddr::V6).ok(),
    };
    address.ok_or_else(|| malformed("an address is not one of its protocol"))
}

fn port(word: &str) -> Result<u16, Error> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = word == "0" || !word.starts_with('0');
    let port = word.parse().ok().filter(|_| digits && canonical);
    port.ok_or_else(|| malformed("a port is no number from 0 to 65535"))
}

#[cold]
fn malformed(what: &str) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the peer's PROXY line is wrong: {what}"),
    )
}

/// Writes the line.
pub(super) fn write(header: &ProxyHeader, dst: &mut BytesMut) -> Result<(), Error> {
    if !header.tlvs.is_empty() {
        return Err(unencodable("has no extensions"));
    }
    let (source, destination) = match (&header.source, &header.destination) {
        (None, None) => {
            dst.extend_from_slice(b"PROXY UNKNOWN\r\n");
            return Ok(());
        }
        (Some(ProxyAddress::Inet(source)), Some(ProxyAddress::Inet(destination)))
            if header.transport == ProxyTransport::Stream =>
        {
            (source, destination)
        }
        _ => return Err(unencodable("knows only TCP over IPv4 and IPv6")),
    };
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return Err(unencodable("wants two addresses of one family")),
    };
    let mut line = String::with_capacity(LINE_MAX);
    let _ = write!(
        line,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    dst.extend_from_slice(line.as_bytes());
    Ok(())
}

#[cold]
fn unencodable(what: &str) -> Error {
    Error::new(
        ErrorKind::Unencodable,
        format!("version 1 of the PROXY protocol {what}; use version 2"),
    )
}
