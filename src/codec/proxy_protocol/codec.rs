//! [`ProxyDecoder`] and [`ProxyEncoder`]: which of the two forms it is, and how often there is one.

use bytes::BytesMut;

use super::header::{ProxyHeader, ProxyVersion};
use super::{v1, v2};
use crate::codec::traits::{Decoder, Encoder};
use crate::error::{Error, ErrorKind};

/// Takes one PROXY header, of either version, off the front of a stream; what follows is left alone.
///
/// ```
/// use bytes::BytesMut;
/// use tidegate::codec::Decoder;
/// use tidegate::codec::proxy_protocol::{ProxyAddress, ProxyDecoder};
///
/// let mut decoder = ProxyDecoder::new();
/// let mut bytes = BytesMut::from("PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\nGET /");
/// let header = decoder.decode(&mut bytes)?.unwrap();
/// assert_eq!(header.source, Some(ProxyAddress::Inet("192.0.2.1:50000".parse().unwrap())));
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// assert_eq!(bytes, "GET /");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// It never waits for more than 107 bytes of version 1, and 65,551 of version 2.
///
/// # Errors of `decode`
/// [`Malformed`](ErrorKind::Malformed), once, from the first byte on that cannot be right. What follows is discarded: close
/// the connection, as the specification demands.
#[derive(Clone, Debug, Default)]
pub struct ProxyDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Waiting,
    Done,
    Failed,
}

impl ProxyDecoder {
    /// For a new connection.
    pub const fn new() -> Self {
        Self {
            state: State::Waiting,
        }
    }

    fn header(src: &mut BytesMut) -> Result<Option<ProxyHeader>, Error> {
        let signature = match src.first() {
            None => return Ok(None),
            Some(first) if *first == v2::SIGNATURE[0] => v2::SIGNATURE,
            Some(_) => v1::SIGNATURE,
        };
        let differs = src.iter().zip(signature).position(|(is, be)| is != be);
        if let Some(at) = differs {
            return Err(no_header(at, src[at]));
        }
        if src.len() < signature.len() {
            return Ok(None);
        }
        if signature == v1::SIGNATURE {
            let length = v1::measure(src)?;
            length
                .map(|length| v1::parse(&src.split_to(length)))
                .transpose()
        } else {
            let length = v2::measure(src)?;
            length
                .map(|length| v2::parse(src.split_to(length).freeze()))
                .transpose()
        }
    }
}

#[cold]
fn no_header(at: usize, byte: u8) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!(
            "the peer's first bytes are no PROXY header: byte {at} is 0x{byte:02x}; is it the proxy, and told to send one?"
        ),
    )
}

impl Decoder for ProxyDecoder {
    type Item = ProxyHeader;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ProxyHeader>, Error> {
        match self.state {
            State::Waiting => {}
            State::Done => return Ok(None),
            State::Failed => {
                src.clear();
                return Ok(None);
            }
        }
        match Self::header(src) {
            Ok(header) => {
                if header.is_some() {
                    self.state = State::Done;
                }
                Ok(header)
            }
            Err(error) => {
                self.state = State::Failed;
                src.clear();
                Err(error)
            }
        }
    }
}

/// Writes PROXY headers, in the version that each asks for.
///
/// # Errors of `encode`
/// [`Unencodable`](ErrorKind::Unencodable) for what a version has no place for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxyEncoder {
    checksum: bool,
}

impl ProxyEncoder {
    /// Without a checksum.
    pub const fn new() -> Self {
        Self { checksum: false }
    }

    /// Adds a CRC-32C to headers of version 2.
    #[must_use]
    pub const fn checksum(mut self) -> Self {
        self.checksum = true;
        self
    }
}

impl Encoder<&ProxyHeader> for ProxyEncoder {
    type Error = Error;

    fn encode(&mut self, header: &ProxyHeader, dst: &mut BytesMut) -> Result<(), Error> {
        let before = dst.len();
        let written = match header.version {
            ProxyVersion::V1 => v1::write(header, dst),
            ProxyVersion::V2 => v2::write(header, self.checksum, dst),
        };
        if written.is_err() {
            dst.truncate(before);
        }
        written
    }
}

impl Encoder<ProxyHeader> for ProxyEncoder {
    type Error = Error;

    fn encode(&mut self, header: ProxyHeader, dst: &mut BytesMut) -> Result<(), Error> {
        self.encode(&header, dst)
    }
}
