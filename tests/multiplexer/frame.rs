//! The toy protocol, bytes in and values out: a frame is a stream id and a length, two bytes each, and that many
//! bytes. Stream 0 carries what the multiplexers tell each other.

use tidegate::buffer::{Bytes, BytesMut};

/// Bytes of a frame before its payload.
pub const HEADER: usize = 4;

/// The stream that belongs to the multiplexers.
pub const CONTROL: u16 = 0;

/// Bytes that a stream's peer may send before it is told that some were read.
pub const WINDOW: usize = 4096;

/// What one multiplexer tells the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The receiver has read so many bytes of the stream: as many more may come.
    Credit { stream: u16, bytes: u32 },
    /// The sender writes nothing more to the stream.
    End { stream: u16 },
    /// The sender has no such stream any more.
    Reset { stream: u16 },
}

impl Control {
    const LEN: usize = 7;

    pub fn stream(self) -> u16 {
        match self {
            Self::Credit { stream, .. } | Self::End { stream } | Self::Reset { stream } => stream,
        }
    }

    /// Appends the whole frame.
    pub fn encode(self, into: &mut BytesMut) {
        let (kind, value) = match self {
            Self::Credit { bytes, .. } => (1, bytes),
            Self::End { .. } => (2, 0),
            Self::Reset { .. } => (3, 0),
        };
        let mut frame = [0; HEADER + Self::LEN];
        frame[..HEADER].copy_from_slice(&header(CONTROL, Self::LEN));
        frame[4] = kind;
        frame[5..7].copy_from_slice(&self.stream().to_be_bytes());
        frame[7..].copy_from_slice(&value.to_be_bytes());
        into.extend_from_slice(&frame);
    }

    /// `None` if it is none that we know.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; Self::LEN] = payload.try_into().ok()?;
        let [kind, high, low, value @ ..] = *payload;
        let stream = u16::from_be_bytes([high, low]);
        match kind {
            1 => Some(Self::Credit {
                stream,
                bytes: u32::from_be_bytes(value),
            }),
            2 => Some(Self::End { stream }),
            3 => Some(Self::Reset { stream }),
            _ => None,
        }
    }
}

/// The first four bytes of a frame.
pub fn header(stream: u16, len: usize) -> [u8; HEADER] {
    let [a, b] = stream.to_be_bytes();
    let [c, d] = u16::try_from(len)
        .expect("a stream accepts no longer message")
        .to_be_bytes();
    [a, b, c, d]
}

/// Frames out of bytes that are cut anywhere. Payloads that arrive in one piece are not copied.
#[derive(Default)]
pub struct Splitter {
    header: [u8; HEADER],
    /// How much of the header is there: 0 <= have <= HEADER
    have: usize,
    /// What is there of a payload that came in pieces.
    partial: BytesMut,
}

impl Splitter {
    pub fn feed(&mut self, mut bytes: Bytes, mut frame: impl FnMut(u16, Bytes)) {
        loop {
            let take = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + take].copy_from_slice(&bytes.split_to(take));
            self.have += take;
            if self.have < HEADER {
                return;
            }
            let [a, b, c, d] = self.header;
            let len = usize::from(u16::from_be_bytes([c, d]));
            let missing = len - self.partial.len();
            if bytes.len() < missing {
                self.partial.extend_from_slice(&bytes);
                return;
            }
            let rest = bytes.split_to(missing);
            let payload = if self.partial.is_empty() {
                rest
            } else {
                self.partial.extend_from_slice(&rest);
                self.partial.split().freeze()
            };
            self.have = 0;
            frame(u16::from_be_bytes([a, b]), payload);
            if bytes.is_empty() {
                return;
            }
        }
    }
}
