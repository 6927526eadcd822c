//! [`PcapCapture`]: has what passes written into a capture. It changes nothing, and knows of packets only what can be made
//! up: it sees messages, not the wire.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::file::PcapFile;
use super::format::{UdpPacket, udp_record};
use super::stream::{Side, Stream};
use crate::buffer::{FileRegion, Message};
use crate::channel::events::{ChannelInputShutdown, ChannelOutputShutdown};
use crate::channel::{Address, Context, Datagram, Handler, HandlerResult};
use crate::error::{ErrorKind, Failure};
use crate::future::Promise;

/// Writes what passes into a [`PcapFile`]. A stream becomes a TCP connection: a handshake when the channel is active, each
/// buffer as a segment with its acknowledgement, FIN or RST at the end. On a channel of datagrams each [`Datagram`] is a UDP
/// packet between its addresses, and bytes are one to the peer that the channel is connected to.
///
/// Put it first to see what is on the wire, or behind a TLS handler to see what is in it. It sees a write when it is asked
/// for: one that fails later is in the capture all the same. A file region leaves a gap of its length; messages that are no
/// bytes leave nothing, nor do datagrams longer than a packet can be. An accepted connection is begun by the peer, any other
/// by the channel. Added to a channel that is active, it makes up the handshake at that moment.
///
/// An end without an IP address is given one: 192.0.2.1 the channel, 192.0.2.2 its peer, with a port of their own. A channel
/// that is bound to every address is seen as `0.0.0.0` or `::`, unless the datagrams tell (`IP_PKTINFO`).
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
    view: View,
    /// The ends that are shown where there is no IP address.
    made_up: Option<(SocketAddr, SocketAddr)>,
    /// Who ends the connection, as far as it is known.
    ending: Ending,
}

/// As what the channel is shown.
#[derive(Debug)]
enum View {
    /// It is not active.
    None,
    Connection(Stream),
    Datagrams,
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
            view: View::None,
            made_up: None,
            ending: Ending::Peer,
        }
    }

    fn open(&mut self, ctx: &Context<'_>) {
        let channel = ctx.channel();
        // What a server accepts is no bytes; its children are connections.
        if !matches!(self.view, View::None) || channel.is_server() {
            return;
        }
        if channel.has_disconnect() {
            self.view = View::Datagrams;
            return;
        }
        let local = self.end(Side::Local, channel.local_address());
        let remote = self.end(Side::Remote, channel.remote_address());
        let client = match channel.parent() {
            Some(_) => Side::Remote,
            None => Side::Local,
        };
        let mut stream = Stream::new(local, remote);
        self.file.append(|out, at| stream.open(out, at, client));
        self.view = View::Connection(stream);
    }

    fn data(&mut self, ctx: &Context<'_>, from: Side, msg: &Message) {
        let bytes = msg.as_bytes();
        match (&mut self.view, bytes) {
            (View::None, _) => {}
            (View::Connection(stream), Some(bytes)) => {
                self.file
                    .append(|out, at| stream.data(out, at, from, bytes));
            }
            (View::Datagrams, Some(bytes)) => {
                // Without a peer they go nowhere.
                if let Some(peer) = ctx.channel().remote_address() {
                    let ends = self.ends(ctx, peer, None);
                    self.datagram(from, ends, 0, bytes);
                }
            }
            (view, None) => {
                if let Some(datagram) = msg.downcast_ref::<Datagram>() {
                    let ends = self.ends(ctx, datagram.peer.clone(), datagram.local);
                    self.datagram(from, ends, datagram.class.unwrap_or(0), &datagram.content);
                } else if let (View::Connection(stream), Some(region)) =
                    (view, msg.downcast_ref::<FileRegion>())
                {
                    stream.skip(from, region.remaining());
                }
            }
        }
    }

    /// `ends` are the channel's and its peer's.
    fn datagram(&self, from: Side, ends: (SocketAddr, SocketAddr), class: u8, payload: &[u8]) {
        let (from, to) = match from {
            Side::Local => ends,
            Side::Remote => (ends.1, ends.0),
        };
        let packet = UdpPacket {
            from,
            to,
            class,
            payload,
        };
        self.file.append(|out, at| udp_record(out, at, &packet));
    }

    /// The ends of a datagram, the channel's first. They are looked up each time: a connect changes them.
    fn ends(
        &mut self,
        ctx: &Context<'_>,
        peer: Address,
        ip: Option<IpAddr>,
    ) -> (SocketAddr, SocketAddr) {
        let mut local = self.end(Side::Local, ctx.channel().local_address());
        if let Some(ip) = ip {
            local.set_ip(ip);
        }
        (local, self.end(Side::Remote, Some(peer)))
    }

    /// Where this end is shown.
    fn end(&mut self, side: Side, address: Option<Address>) -> SocketAddr {
        if let Some(inet) = address.and_then(|address| address.as_inet()) {
            return inet;
        }
        let file = &self.file;
        let (own, peer) = self
            .made_up
            .get_or_insert_with(|| made_up(file.next_number()));
        match side {
            Side::Local => *own,
            Side::Remote => *peer,
        }
    }

    fn finish(&mut self, sides: &[Side], is_reset: bool) {
        if let View::Connection(stream) = &mut self.view {
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
        self.view = View::None;
        ctx.fire_channel_inactive();
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        self.data(ctx, Side::Remote, &msg);
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
        self.data(ctx, Side::Local, &msg);
        ctx.write_with(msg, promise);
        Ok(())
    }
}
