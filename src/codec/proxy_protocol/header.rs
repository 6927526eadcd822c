//! What a PROXY header says. Only values; reading and writing them is next door.

use std::net::SocketAddr;

use bytes::{Buf, Bytes};

use crate::error::{Error, ErrorKind};

/// Who is at the two ends of a proxied connection, as the proxy in front of us says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The form it had, or is to have.
    pub version: ProxyVersion,
    /// False if the proxy speaks for itself (a health check): then the addresses of the connection itself count.
    pub proxied: bool,
    /// What the client speaks with the proxy.
    pub transport: ProxyTransport,
    /// The client. `None` if the proxy did not say: then the connection's own address counts.
    pub source: Option<ProxyAddress>,
    /// Where the client connected to.
    pub destination: Option<ProxyAddress>,
    /// Extensions, in the order of arrival; paddings and a checksum that was right are left out.
    pub tlvs: Vec<Tlv>,
}

impl ProxyHeader {
    /// A header of version 2 for a proxied TCP connection.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            version: ProxyVersion::V2,
            proxied: true,
            transport: ProxyTransport::Stream,
            source: Some(ProxyAddress::Inet(source)),
            destination: Some(ProxyAddress::Inet(destination)),
            tlvs: Vec::new(),
        }
    }

    /// One that names nobody.
    pub fn unknown(version: ProxyVersion, proxied: bool) -> Self {
        Self {
            version,
            proxied,
            transport: ProxyTransport::Unspecified,
            source: None,
            destination: None,
            tlvs: Vec::new(),
        }
    }

    /// The value of the first extension of a kind, one of the constants of [`Tlv`].
    pub fn tlv(&self, kind: u8) -> Option<&Bytes> {
        find(&self.tlvs, kind)
    }

    /// What is said about TLS between client and proxy, if anything is.
    ///
    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) if the extension is not built as it should be.
    pub fn ssl(&self) -> Result<Option<ProxySsl>, Error> {
        self.tlv(Tlv::SSL).cloned().map(ProxySsl::parse).transpose()
    }
}

/// The two forms of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with extensions.
    V2,
}

/// The kind of connection between client and proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyTransport {
    /// Not said.
    Unspecified,
    /// TCP, or a Unix stream socket.
    Stream,
    /// UDP, or a Unix datagram socket.
    Datagram,
}

/// One end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyAddress {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of a Unix socket, at most 108 bytes, without the zeros behind it.
    Unix(Bytes),
}

/// An extension: type, length, value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// What it is: one of the constants, or an application's own (0xe0 to 0xef).
    pub kind: u8,
    /// At most 65,535 bytes.
    pub value: Bytes,
}

impl Tlv {
    /// The protocol of the layer above, as in TLS (ALPN).
    pub const ALPN: u8 = 0x01;
    /// The host name that the client asked for (SNI), UTF-8.
    pub const AUTHORITY: u8 = 0x02;
    /// CRC-32C of the whole header; checked and left out.
    pub const CRC32C: u8 = 0x03;
    /// Padding; left out.
    pub const NOOP: u8 = 0x04;
    /// An id of the connection, at most 128 bytes.
    pub const UNIQUE_ID: u8 = 0x05;
    /// What is known of TLS; see [`ProxyHeader::ssl`].
    pub const SSL: u8 = 0x20;
    /// The name of the network namespace, US-ASCII.
    pub const NETNS: u8 = 0x30;
    /// In [`ProxySsl::tlvs`]: the TLS version, US-ASCII.
    pub const SSL_VERSION: u8 = 0x21;
    /// In [`ProxySsl::tlvs`]: the common name of the client's certificate, UTF-8.
    pub const SSL_CN: u8 = 0x22;
    /// In [`ProxySsl::tlvs`]: the cipher, US-ASCII.
    pub const SSL_CIPHER: u8 = 0x23;
    /// In [`ProxySsl::tlvs`]: the algorithm that signed the certificate, US-ASCII.
    pub const SSL_SIG_ALG: u8 = 0x24;
    /// In [`ProxySsl::tlvs`]: the algorithm of the certificate's key, US-ASCII.
    pub const SSL_KEY_ALG: u8 = 0x25;

    /// Type and length.
    pub(super) const HEAD: usize = 3;

    /// All extensions that `bytes` consists of.
    pub(super) fn parse_all(mut bytes: Bytes) -> Result<Vec<Tlv>, Error> {
        let mut tlvs = Vec::new();
        while !bytes.is_empty() {
            if bytes.len() < Self::HEAD {
                return Err(cut_short(bytes[0]));
            }
            let kind = bytes.get_u8();
            let len = usize::from(bytes.get_u16());
            if bytes.len() < len {
                return Err(cut_short(kind));
            }
            let value = bytes.split_to(len);
            tlvs.push(Tlv { kind, value });
        }
        Ok(tlvs)
    }
}

#[cold]
fn cut_short(kind: u8) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the peer's PROXY header ends inside its extension of type 0x{kind:02x}"),
    )
}

/// TLS between client and proxy (2.2.6 of the specification, PP2_TYPE_SSL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySsl {
    /// Bits: 1 the client spoke TLS, 2 it showed a certificate in this connection, 4 it did in this session.
    pub client: u8,
    /// Whether the client's certificate was found good.
    pub verified: bool,
    /// Details; see the constants of [`Tlv`].
    pub tlvs: Vec<Tlv>,
}

impl ProxySsl {
    /// The value of the first detail of a kind.
    pub fn tlv(&self, kind: u8) -> Option<&Bytes> {
        find(&self.tlvs, kind)
    }

    fn parse(mut value: Bytes) -> Result<Self, Error> {
        if value.len() < 5 {
            return Err(cut_short(Tlv::SSL));
        }
        Ok(Self {
            client: value.get_u8(),
            verified: value.get_u32() == 0,
            tlvs: Tlv::parse_all(value)?,
        })
    }
}

fn find(tlvs: &[Tlv], kind: u8) -> Option<&Bytes> {
    tlvs.iter()
        .find(|tlv| tlv.kind == kind)
        .map(|tlv| &tlv.value)
}
