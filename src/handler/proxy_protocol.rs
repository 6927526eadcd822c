//! [`ProxyProtocol`]: who a proxied peer really is, from the header that the proxy puts before the first byte. The header
//! itself is read by [`codec::proxy_protocol`](crate::codec::proxy_protocol); whether the peer may speak for others is not
//! decided here.

use bytes::BytesMut;

use crate::buffer::Message;
use crate::channel::events::ChannelInputShutdown;
use crate::channel::{AttributeKey, Context, Handler, HandlerResult};
use crate::codec::Decoder;
use crate::codec::proxy_protocol::{ProxyDecoder, ProxyHeader};
use crate::error::{Error, ErrorKind};

/// How headers of the two versions begin (2.1 and 2.2 of the specification).
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of what follows stands in the last two of so many bytes of version 2.
const V2_FIXED: usize = 16;

/// The key of `after` by which the handler comes back to close.
const CLOSE: u64 = 0;

/// Takes the header of the PROXY protocol, version 1 or 2, off the front of a connection.
///
/// The [`ProxyHeader`] is kept as the channel's attribute [`HEADER`](Self::HEADER) and fired as a user event; then the
/// handler leaves the pipeline and hands on what followed the header.
///
/// [`required`](Self::required): a connection that begins with anything else, or ends within the header, shows the pipeline
/// an error of kind [`Malformed`](ErrorKind::Malformed), [`TooLong`](ErrorKind::TooLong) or
/// [`Truncated`](ErrorKind::Truncated) and is closed; no byte of it gets on. [`optional`](Self::optional): one that begins
/// with anything else is handed on as it is, also if it ends before it differs; a header that is wrong, or cut off
/// behind its first line's `PROXY ` or the twelve bytes that version 2 begins with, is still an error.
///
/// Everybody can send a header. Take it only where nobody but the proxy can connect, or behind an
/// [`IpFilter`](super::ip_filter::IpFilter) that lets only the proxy in; `optional` lets a client choose its own address. A
/// peer that sends half a header and waits is the matter of [`ReadTimeout`](super::timeout::ReadTimeout).
///
/// ```
/// use tidegate::EmbeddedChannel;
/// use tidegate::codec::proxy_protocol::ProxyAddress;
/// use tidegate::handler::proxy_protocol::ProxyProtocol;
///
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(ProxyProtocol::required()))?;
/// channel.write_inbound("PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\nGET /")?;
/// let header = channel.channel().attr(&ProxyProtocol::HEADER).unwrap();
/// assert_eq!(header.source, Some(ProxyAddress::Inet("192.0.2.1:50000".parse()?)));
/// assert_eq!(channel.read_inbound().unwrap().as_bytes(), Some(&b"GET /"[..]));
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct ProxyProtocol {
    decoder: ProxyDecoder,
    /// The beginning of a header; nothing has been handed on.
    buffer: BytesMut,
    is_required: bool,
    limit: usize,
    /// The connection is given up; nothing is handed on any more.
    has_failed: bool,
}

impl ProxyProtocol {
    /// The channel's attribute: what the proxy said.
    pub const HEADER: AttributeKey<ProxyHeader> = AttributeKey::new("tidegate.proxy_header");

    /// The longest header that the protocol knows, of version 2 with as many extensions as its length can say, in bytes.
    pub const LIMIT: usize = V2_FIXED + 65_535;

    /// Connections must begin with a header.
    pub fn required() -> Self {
        Self {
            decoder: ProxyDecoder::new(),
            buffer: BytesMut::new(),
            is_required: true,
            limit: Self::LIMIT,
            has_failed: false,
        }
    }

    /// Connections may begin with a header.
    pub fn optional() -> Self {
        Self {
            is_required: false,
            ..Self::required()
        }
    }

    /// Takes no header longer than this, in bytes. A line of version 1 has at most 107; version 2 has 28 for IPv4, 52 for
    /// IPv6 and 232 for Unix addresses, and its extensions.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Looks at what has come.
    fn decode(&mut self, ctx: &mut Context<'_>) {
        if !self.is_required && !may_be_header(&self.buffer) {
            return self.leave(ctx);
        }
        let before = self.buffer.len();
        if announced(&self.buffer).is_some_and(|bytes| bytes > self.limit) {
            return self.fail(ctx, self.too_long());
        }
        match self.decoder.decode(&mut self.buffer) {
            Ok(Some(_)) if before - self.buffer.len() > self.limit => {
                self.fail(ctx, self.too_long());
            }
            Ok(Some(header)) => {
                let channel = ctx.channel();
                channel.attributes().set(&Self::HEADER, header.clone());
                ctx.fire_user_event_triggered(Message::new(header));
                self.leave(ctx);
            }
            Ok(None) if before >= self.limit => self.fail(ctx, self.too_long()),
            Ok(None) => self.read_on(ctx),
            Err(error) => self.fail(ctx, error),
        }
    }

    /// Hands on what there is and leaves the pipeline.
    fn leave(&mut self, ctx: &mut Context<'_>) {
        if self.buffer.is_empty() {
            self.read_on(ctx);
        } else {
            ctx.fire_channel_read(std::mem::take(&mut self.buffer));
        }
        let name = ctx.name();
        // Somebody may have taken it out already.
        let _ = ctx.pipeline().remove(&name);
    }

    /// Whoever asked for a read has got nothing for it yet.
    fn read_on(&self, ctx: &mut Context<'_>) {
        if !ctx.auto_read() {
            ctx.read();
        }
    }

    fn fail(&mut self, ctx: &mut Context<'_>, error: Error) {
        self.has_failed = true;
        self.buffer = BytesMut::new();
        ctx.fire_exception_caught(error);
        ctx.after(CLOSE);
    }

    /// The input ends within what may have become a header.
    fn end(&mut self, ctx: &mut Context<'_>) {
        if self.buffer.is_empty() {
            return;
        }
        if self.is_required || is_header(&self.buffer) {
            if ctx.input_was_cut() {
                self.buffer = BytesMut::new();
                return;
            }
            let length = self.buffer.len();
            self.fail(
                ctx,
                Error::new(
                    ErrorKind::Truncated,
                    format!("the connection ended after {length} bytes of a PROXY header"),
                ),
            );
        } else {
            ctx.fire_channel_read(std::mem::take(&mut self.buffer));
        }
    }

    fn too_long(&self) -> Error {
        let limit = self.limit;
        Error::new(
            ErrorKind::TooLong,
            format!("the peer's PROXY header is longer than the limit of {limit} bytes"),
        )
    }
}

/// False once the first bytes differ from those of both versions.
fn may_be_header(bytes: &[u8]) -> bool {
    [V1, V2].iter().any(|signature| {
        let both = bytes.len().min(signature.len());
        bytes[..both] == signature[..both]
    })
}

/// True once all of a version's signature has come: what follows can only make it a header that is right or wrong.
fn is_header(bytes: &[u8]) -> bool {
    [V1, V2]
        .iter()
        .any(|signature| bytes.starts_with(signature))
}

/// The length of a header of version 2, as soon as it is known.
fn announced(bytes: &[u8]) -> Option<usize> {
    let fixed = bytes.get(..V2_FIXED)?;
    fixed
        .starts_with(V2)
        .then(|| V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]])))
}

impl Handler for ProxyProtocol {
    fn handler_removed(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if !self.buffer.is_empty() {
            ctx.fire_channel_read(std::mem::take(&mut self.buffer));
        }
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.end(ctx);
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if self.has_failed {
            return Ok(());
        }
        let bytes = match msg.into_bytes_mut() {
            Ok(bytes) => bytes,
            Err(other) => {
                ctx.fire_channel_read(other);
                return Ok(());
            }
        };
        if self.buffer.is_empty() {
            self.buffer = bytes;
            self.decode(ctx);
            // What waits must not pin the memory that others receive into.
            self.buffer = BytesMut::from(&self.buffer[..]);
        } else {
            self.buffer.extend_from_slice(&bytes);
            self.decode(ctx);
        }
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            self.end(ctx);
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn after(&mut self, ctx: &mut Context<'_>, _key: u64) -> HandlerResult {
        ctx.close();
        Ok(())
    }
}
