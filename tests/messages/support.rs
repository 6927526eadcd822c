//! Decoders and handlers that the tests of this folder share.

use bytes::{Buf, BufMut, BytesMut};
use tidegate::channel::options::AUTO_READ;
use tidegate::codec::{Decoder, Encoder};
use tidegate::{
    Context, EmbeddedChannel, Error, ErrorKind, Failure, Handler, HandlerResult, Message, OptionSet,
};

/// Frames of one length byte and as many bytes; 0xff is an error that takes one byte, 0xfe one that takes none.
#[derive(Default)]
pub struct Framed {
    pub calls: usize,
}

impl Decoder for Framed {
    type Item = BytesMut;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        self.calls += 1;
        match src.first() {
            None => Ok(None),
            Some(0xff) => {
                src.advance(1);
                Err(Error::new(ErrorKind::Malformed, "skipped"))
            }
            Some(0xfe) => Err(Error::new(ErrorKind::Malformed, "not skipped")),
            Some(&length) if src.len() > usize::from(length) => {
                src.advance(1);
                Ok(Some(src.split_to(length.into())))
            }
            Some(_) => Ok(None),
        }
    }
}

impl Encoder<BytesMut> for Framed {
    type Error = Error;

    fn encode(&mut self, item: BytesMut, dst: &mut BytesMut) -> Result<(), Error> {
        let length = u8::try_from(item.len())
            .map_err(|_| Error::new(ErrorKind::Unencodable, "a frame has at most 255 bytes"))?;
        dst.put_u8(length);
        dst.extend_from_slice(&item);
        Ok(())
    }
}

/// The wire form of these frames.
pub fn wire<'a>(frames: impl IntoIterator<Item = &'a str>) -> BytesMut {
    let mut wire = BytesMut::new();
    for frame in frames {
        wire.put_u8(frame.len() as u8);
        wire.extend_from_slice(frame.as_bytes());
    }
    wire
}

/// The frames named `f1` to `f<n>`, of different lengths.
pub fn names(n: usize) -> Vec<String> {
    (1..=n)
        .map(|i| format!("f{i}{}", "-".repeat(i % 3)))
        .collect()
}

pub fn wire_of(frames: &[String]) -> BytesMut {
    wire(frames.iter().map(String::as_str))
}

/// Options that switch auto-read off.
pub fn asked() -> OptionSet {
    let mut options = OptionSet::new();
    options.set(AUTO_READ, false).expect("a bool is in range");
    options
}

/// What reached the tail, as text: bytes as they are, numbers, or the type's name.
pub fn inbound(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_inbound())
        .map(|msg| text(&msg))
        .collect()
}

/// What was written, as text.
pub fn outbound(channel: &mut EmbeddedChannel) -> Vec<String> {
    std::iter::from_fn(|| channel.read_outbound())
        .map(|msg| text(&msg))
        .collect()
}

pub fn text(msg: &Message) -> String {
    if let Some(bytes) = msg.as_bytes() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if let Some(number) = msg.downcast_ref::<u32>() {
        return number.to_string();
    }
    if let Some(text) = msg.downcast_ref::<String>() {
        return text.clone();
    }
    msg.type_name().to_owned()
}

/// Turns all that passes into messages that tell of it, in order: `read_complete`, `inactive`, errors by their kind.
pub struct Tell;

impl Handler for Tell {
    fn channel_read_complete(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read(Message::new(String::from("read_complete")));
        ctx.fire_channel_read_complete();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        ctx.fire_channel_read(Message::new(String::from("inactive")));
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        let name = event.type_name().rsplit("::").next().unwrap_or("event");
        ctx.fire_channel_read(Message::new(name.to_owned()));
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        ctx.fire_channel_read(Message::new(format!("{:?}", cause.kind())));
        Ok(())
    }
}
