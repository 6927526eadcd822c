//! [`SctpMessage`]: what channels of SCTP read and write.

use bytes::Bytes;
use tidegate_sys::os::net::sctp::Info;

use crate::buffer::Message;

/// One message of an association.
///
/// ```
/// use tidegate::transport::sctp::SctpMessage;
///
/// let message = SctpMessage::new(3, "hello").protocol(46).unordered();
/// assert_eq!(message.stream, 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SctpMessage {
    /// The stream. Messages of one stream arrive in their order, those of different streams do not wait for each other.
    pub stream: u16,
    /// The payload protocol identifier, as IANA lists them; 0 is none.
    pub protocol: u32,
    /// It may overtake others of its stream, or has.
    pub is_unordered: bool,
    /// Its bytes, at least one. Those received lie in memory that the loop shares: copy what you keep for long.
    pub payload: Bytes,
}

impl SctpMessage {
    /// A message on a stream, in order, without a protocol identifier.
    pub fn new(stream: u16, payload: impl Into<Bytes>) -> Self {
        Self {
            stream,
            protocol: 0,
            is_unordered: false,
            payload: payload.into(),
        }
    }

    /// The same with a payload protocol identifier.
    #[must_use]
    pub fn protocol(mut self, protocol: u32) -> Self {
        self.protocol = protocol;
        self
    }

    /// The same, without waiting for others of its stream.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.is_unordered = true;
        self
    }

    pub(super) fn received(info: Info, payload: Bytes) -> Self {
        Self {
            stream: info.stream,
            protocol: info.protocol,
            is_unordered: info.is_unordered,
            payload,
        }
    }

    pub(super) fn info(&self) -> Info {
        Info {
            stream: self.stream,
            protocol: self.protocol,
            is_unordered: self.is_unordered,
        }
    }
}

impl From<SctpMessage> for Message {
    fn from(message: SctpMessage) -> Self {
        Self::new(message)
    }
}
