//! The protocol of `rpc_server` and `rpc_client`: length-field frames with an id, by which answers find their requests.
//!
//! ```text
//! | length: u32 of what follows | id: u64 | body |
//! ```
//!
//! A codec made of codecs: the framing is the library's, the id is ours.

use tidegate::buffer::{Buf, BufMut, Bytes, BytesMut};
use tidegate::codec::{Decoder, Encoder, LengthFieldDecoder, LengthFieldPrepender, Prepender};
use tidegate::{Error, ErrorKind};

/// The longest frame, in bytes, without its length field.
const FRAME_MAX: usize = 1 << 20;
/// Bytes of the id.
const ID_LENGTH: usize = size_of::<u64>();

/// A request, or the answer to the one with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub id: u64,
    pub body: Bytes,
}

/// Both directions.
pub struct FrameCodec {
    incoming: LengthFieldDecoder,
    outgoing: LengthFieldPrepender,
}

impl FrameCodec {
    pub fn new() -> Self {
        Self {
            incoming: LengthFieldDecoder::new(FRAME_MAX, 0, 4).strip(4),
            outgoing: LengthFieldPrepender::new(4),
        }
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some(mut frame) = self.incoming.decode(src)? else {
            return Ok(None);
        };
        if frame.len() < ID_LENGTH {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!("a frame of {} bytes has no room for an id", frame.len()),
            ));
        }
        let id = frame.get_u64();
        let body = frame.freeze();
        Ok(Some(Frame { id, body }))
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = Error;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), Error> {
        let header = self.outgoing.header(ID_LENGTH + frame.body.len())?;
        dst.reserve(header.len() + ID_LENGTH + frame.body.len());
        dst.put_slice(&header);
        dst.put_u64(frame.id);
        dst.put_slice(&frame.body);
        Ok(())
    }
}

/// What the server does to a body, and the client expects: the bytes backwards.
pub fn reversed(body: &[u8]) -> Bytes {
    body.iter().rev().copied().collect()
}
