//! [`PcapCapture`]: has what passes written into a capture. It changes nothing, and knows of packets only what can be made
//! up: it sees messages, not the wire.

use std::net::{Ipv4Addr, SocketAddr};

use super::file::PcapFile;
use super::stream::{Side, Stream};
use crate::buffer::{FileRegion, Message};
use crate::channel::events::{ChannelInputShutdown, ChannelOutputShutdown};
use crate::channel::{Address, Context, Handler, HandlerResult};
use crate::error::{ErrorKind, Failure};
use crate::future::Promise;

/// Writes the bytes that pass into a [`PcapFile`], as a TCP connection: a handshake when the channel is active, each
/// buffer as a segment with its acknowledgement, FIN or RST at the end.
///
/// Put it first to see what is on the wire, or behind a TLS handler to see what is in it. It sees a write when it is asked
/// for: one that fails later is in the capture all the same. A file region leaves a gap of its length; messages that are no
/// bytes leave nothing. An accepted connection is begun by the peer, any other by the channel. Added to a channel that is
/// active, it makes up the handshake at that moment.
///
/// An end without an IP address is given one: 192.0.2.1 the channel, 192.0.2.2 its peer, with a port of their own.
///
/// ```
/// use tidegate::EmbeddedChannel;
/// use tidegate::handler::pcap::{PcapCapture, PcapFile};
///
/// let path = std::env::temp_dir().join("tidegate-doc-example.pcap");
/// let file = PcapFile::new(std::fs::File::create(&path)?);
/// let mut channel = EmbeddedChannel::new(|pipeline| pipeline.add_last(PcapCapture::new(&file)))?;
/// channel.write_inbound("the tide")?;
/// channel.write_outbound("turns")?;
/// channel.finish()?;
/// let capture = std::fs::read(&path)?;
/// assert!(capture.windows(8).any(|bytes| bytes == b"the tide"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Debug)]
pub struct PcapCapture {
    file: PcapFile,
    /// Some while the connection can be seen.
    stream: Option<Stream>,
    /// Who ends the connection, as far as it is known.
    ending: Ending,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Nobody has closed it here: it is the peer.
    Peer,
    /// This side has closed it.
    Own,
    /// The peer has given it up.
    Reset,
}

impl PcapCapture {
    /// Captures into `file`.
    pub fn new(file: &PcapFile) -> Self {
        Self {
            file: file.clone(),
            stream: None,
            ending: Ending::Peer,
        }
    }

    fn open(&mut self, ctx: &Context<'_>) {
        let channel = ctx.channel();
        // What a server accepts is no bytes; its children are connections.
        if self.stream.is_some() || channel.is_server() {
            return;
        }
        let inet = |address: Option<Address>| address.and_then(|address| address.as_inet());
        let (local, remote) = match (
            inet(channel.local_address()),
            inet(channel.remote_address()),
        ) {
            (Some(local), Some(remote)) => (local, remote),
            (local, remote) => {
                let (own, peer) = made_up(self.file.next_number());
                (local.unwrap_or(own), remote.unwrap_or(peer))
            }
        };
        let client = match channel.parent() {
            Some(_) => Side::Remote,
            None => Side::Local,
        };
        let stream = self.stream.insert(Stream::new(local, remote));
        self.file.append(|out, at| stream.open(out, at, client));
    }

    fn data(&mut self, from: Side, msg: &Message) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if let Some(bytes) = msg.as_bytes() {
            self.file
                .append(|out, at| stream.data(out, at, from, bytes));
        } else if let Some(region) = msg.downcast_ref::<FileRegion>() {
            stream.skip(from, region.remaining());
        }
    }

    fn finish(&mut self, sides: &[Side], is_reset: bool) {
        if let Some(stream) = &mut self.stream {
            self.file.append(|out, at| {
                for side in sides {
                    if is_reset {
                        stream.reset(out, at, *side);
                    } else {
                        stream.finish(out, at, *side);
                    }
                }
            });
        }
    }
}

/// Addresses for documentation (RFC 5737), with a port for each channel.
fn made_up(number: u16) -> (SocketAddr, SocketAddr) {
    // Ports for private use: Wireshark looks for no protocol behind them.
    let port = 49_152 + number % 16_384;
    (
        (Ipv4Addr::new(192, 0, 2, 1), port).into(),
        (Ipv4Addr::new(192, 0, 2, 2), port).into(),
    )
}

impl Handler for PcapCapture {
    fn handler_added(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        if ctx.is_active() && ctx.channel().is_registered() {
            self.open(ctx);
        }
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut Context<'_>) -> HandlerResult {
        self.file.flush();
        Ok(())
    }

    fn channel_active(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.open(ctx);
        ctx.fire_channel_active();
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        match self.ending {
            Ending::Own => self.finish(&[Side::Local, Side::Remote], false),
            Ending::Peer => self.finish(&[Side::Remote, Side::Local], false),
            Ending::Reset => self.finish(&[Side::Remote], true),
        }
        self.stream = None;
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.data(Side::Remote, &msg);
        ctx.fire_channel_read(msg);
        Ok(())
    }

    fn user_event_triggered(&mut self, ctx: &mut Context<'_>, event: Message) -> HandlerResult {
        if event.is::<ChannelInputShutdown>() {
            self.finish(&[Side::Remote], false);
        } else if event.is::<ChannelOutputShutdown>() {
            self.finish(&[Side::Local], false);
        }
        ctx.fire_user_event_triggered(event);
        Ok(())
    }

    fn exception_caught(&mut self, ctx: &mut Context<'_>, cause: Failure) -> HandlerResult {
        if cause.kind() == ErrorKind::ConnectionReset {
            self.ending = Ending::Reset;
        }
        ctx.fire_exception_caught(cause);
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context<'_>, promise: Promise) -> HandlerResult {
        if let Ending::Peer = self.ending {
            self.ending = Ending::Own;
        }
        ctx.close_with(promise);
        Ok(())
    }

    fn write(&mut self, ctx: &mut Context<'_>, msg: Message, promise: Promise) -> HandlerResult {
        self.data(Side::Local, &msg);
        ctx.write_with(msg, promise);
        Ok(())
    }
}
