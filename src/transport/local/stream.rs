//! [`Local`]: the transport of a connection inside this process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate_sys::mem::Task;

use super::accepted::Accepted;
use super::address::LocalAddress;
use super::backlog::{Backlog, refused};
use super::end::End;
use super::registry::{Claim, server_at};
use super::server::LocalServer;
use super::way::{Ending, Got, Sent, tell};
use crate::buffer::Message;
use crate::channel::{
    self, Address, Direction, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress,
    Read, Transport,
};
use crate::error::{Error, ErrorKind, Fault};
use crate::transport::kind::{ChildTransport, ClientTransport};
use crate::transport::socket::options::no_such_option;

/// `SO_RCVBUF` in bytes unless it is set: what Linux gives a socket for a start (`net.ipv4.tcp_rmem`), to a power of two.
const RCVBUF_DEFAULT: i32 = 128 << 10;

/// A connection inside this process, from one side.
///
/// It carries messages of any type, as they are; see [the module's page](super) for when a write is done and how a
/// connection ends. It knows the options `SO_RCVBUF` (the bytes that may wait to be read on this side) and `SO_LINGER`
/// (zero: closing resets the peer; anything else changes nothing, since what was sent is at the peer already).
///
/// ```
/// use tidegate::transport::local::{Local, LocalAddress};
/// use tidegate::{Bootstrap, Context, EventLoopGroup, Handler, HandlerResult, Message, ServerBootstrap};
///
/// struct Echo;
/// impl Handler for Echo {
///     fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
///         ctx.write_and_flush(msg);
///         Ok(())
///     }
/// }
///
/// /// Says what came back.
/// struct Tell(std::sync::mpsc::Sender<u64>);
/// impl Handler for Tell {
///     fn channel_read(&mut self, _: &mut Context<'_>, msg: Message) -> HandlerResult {
///         let _ = self.0.send(msg.downcast::<u64>().unwrap());
///         Ok(())
///     }
/// }
///
/// let group = EventLoopGroup::new(2)?;
/// let server = ServerBootstrap::new(&group, &group)
///     .transport::<Local>()
///     .child_handler(|pipeline| pipeline.add_last(Echo))
///     .bind(LocalAddress::new("numbers"))
///     .sync()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let client = Bootstrap::new(&group)
///     .transport::<Local>()
///     .handler(move |pipeline| pipeline.add_last(Tell(tell.clone())))
///     .connect(LocalAddress::new("numbers"))
///     .sync()?;
/// client.write_and_flush(Message::new(42_u64)).sync()?;
/// assert_eq!(told.recv().unwrap(), 42);
/// server.close().sync()?;
/// # Ok::<(), tidegate::Error>(())
/// ```
pub struct Local {
    /// The connection, from the connect or the accept until the close.
    end: Option<End>,
    /// What was taken from the way and not read; older than what is there.
    batch: VecDeque<Message>,
    is_connected: bool,
    /// A flush found the peer gone while there was something to read: the error stands behind that.
    is_orphan: bool,
    rcvbuf: i32,
    linger: Option<Duration>,
    /// A client's, in a box because few connections have it.
    client: Option<Box<Client>>,
}

/// What only a client has.
#[derive(Default)]
struct Client {
    /// The name that it was bound to.
    claim: Option<Claim>,
    /// Where it waits to be connected.
    waits_at: Option<Arc<Backlog>>,
}

impl Local {
    fn new(end: Option<End>) -> Self {
        Self {
            is_connected: end.is_some(),
            end,
            batch: VecDeque::new(),
            is_orphan: false,
            rcvbuf: RCVBUF_DEFAULT,
            linger: None,
            client: None,
        }
    }

    fn end(&self) -> Result<&End, Error> {
        self.end.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::NotYetConnected,
                "the local channel is not connected",
            )
        })
    }

    /// Nothing is left to read.
    fn ended(&self, ending: Ending) -> Result<Read, Error> {
        match ending {
            Ending::End if !self.is_orphan => Ok(Read::Eof),
            Ending::End => Err(self.broken(ending, "writing to")),
            Ending::Reset => Err(self.broken(ending, "reading from")),
        }
    }

    #[cold]
    fn broken(&self, ending: Ending, doing: &str) -> Error {
        let peer = self.peer_name();
        match ending {
            Ending::End => {
                let text = format!("{doing} {peer}: the peer has closed");
                Error::new(ErrorKind::ChannelClosed, text).with_fault(Fault::Peer)
            }
            Ending::Reset => {
                let why = "the peer reset the connection, or closed it with something unread";
                Error::new(ErrorKind::ConnectionReset, format!("{doing} {peer}: {why}"))
            }
        }
    }

    fn peer_name(&self) -> &str {
        self.end.as_ref().map_or("nobody", |end| end.peer().name())
    }

    /// Gives up the connection, and the name.
    fn leave(&mut self, resets: bool) {
        self.is_connected = false;
        let client = self.client.take();
        let Some(mut end) = self.end.take() else {
            return;
        };
        if let Some(backlog) = client.and_then(|client| client.waits_at) {
            backlog.forget(&end);
        }
        end.close(std::mem::take(&mut self.batch), resets);
    }

    /// A whole queue may be in the reader's hands while the next one fills.
    fn room(&self) -> usize {
        usize::try_from(self.rcvbuf / 2).unwrap_or(0).max(1)
    }
}

impl From<Accepted> for Local {
    fn from(accepted: Accepted) -> Self {
        Self::new(accepted.into_end())
    }
}

impl ClientTransport for Local {
    type Family = channel::Local;

    fn unconnected() -> Self {
        Self::new(None)
    }
}

impl ChildTransport for Local {
    type Family = channel::Local;

    type Server = LocalServer;
    type Accepted = Accepted;

    fn server() -> LocalServer {
        LocalServer::unbound()
    }

    fn child(accepted: Accepted) -> Self {
        Self::from(accepted)
    }
}

impl Transport for Local {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "local",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: false,
        }
    }

    fn is_active(&self) -> bool {
        self.is_connected
    }

    fn register(&mut self, io: &mut Io<'_>) -> Result<(), Error> {
        let Some(end) = &self.end else {
            return Ok(());
        };
        let signal = io.signal();
        if let Some(ending) = end.attach(&signal) {
            // The channel takes the news only when it is active, which comes next.
            let news = Task::new(move || tell(&signal, ending));
            io.event_loop().host().run_listener(news);
        }
        Ok(())
    }

    fn starts_readable(&mut self) -> bool {
        self.end.as_ref().is_some_and(End::is_readable)
    }

    /// For a client that wants a name of its own; servers are [`LocalServer`]s.
    fn bind(&mut self, _io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        let name = LocalAddress::of(local, "bind to")?;
        let client = self.client.get_or_insert_default();
        if let Some(bound) = &client.claim {
            let text = format!(
                "binding to {name}: this channel is bound to {} already",
                bound.name()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        client.claim = Some(Claim::new(&name, None)?);
        Ok(())
    }

    fn connect(
        &mut self,
        io: &mut Io<'_>,
        remote: &Address,
        local: Option<&Address>,
    ) -> Result<Progress, Error> {
        let server = LocalAddress::of(remote, "connect to")?;
        if let Some(local) = local {
            self.bind(io, local)?;
        }
        let claim = self
            .client
            .as_ref()
            .and_then(|client| client.claim.as_ref());
        let name = claim.map_or_else(LocalAddress::unique, |claim| claim.name().clone());
        let backlog = server_at(&server).ok_or_else(|| refused(&server))?;
        let (end, progress) = backlog.join(&io.signal(), name, self.room())?;
        self.end = Some(end);
        self.is_connected = progress == Progress::Done;
        if !self.is_connected {
            self.client.get_or_insert_default().waits_at = Some(backlog);
        }
        Ok(progress)
    }

    /// Asked when the backlog had room.
    fn check_connect(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        if let Some(client) = &mut self.client {
            client.waits_at = None;
        }
        self.is_connected = true;
        Ok(Progress::Done)
    }

    fn accepts(&self, _msg: &Message) -> bool {
        true
    }

    fn read(&mut self, _io: &mut Io<'_>) -> Result<Read, Error> {
        let Some(end) = &self.end else {
            return Ok(Read::WouldBlock);
        };
        if self.batch.is_empty() {
            match end.take(&mut self.batch) {
                Got::Some => {}
                Got::Nothing => return Ok(Read::WouldBlock),
                Got::Ended(ending) => return self.ended(ending),
            }
        }
        let Some(msg) = self.batch.pop_front() else {
            return Ok(Read::WouldBlock);
        };
        // With the last one in hand the writer gets its room back, whenever the next read may be.
        if self.batch.is_empty() && end.take(&mut self.batch) == Got::Nothing {
            return Ok(Read::Last(msg));
        }
        Ok(Read::Message(msg))
    }

    fn flush(&mut self, io: &mut Io<'_>, out: &mut OutboundBuffer) -> Result<Flush, Error> {
        let end = self.end()?;
        match end.send(out) {
            Sent::All => Ok(Flush::Drained),
            Sent::Full => Ok(Flush::Blocked),
            Sent::Gone => match end.look() {
                (false, ending) if self.batch.is_empty() => {
                    Err(self.broken(ending.unwrap_or(Ending::End), "writing to"))
                }
                // What the peer had sent before it closed comes first.
                _ => {
                    self.is_orphan = true;
                    io.signal().broken();
                    Ok(Flush::Blocked)
                }
            },
        }
    }

    fn shutdown(&mut self, _io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        let end = self.end()?;
        match direction {
            Direction::Input => end.shut_input(),
            Direction::Output => end.end_output(),
        }
        Ok(())
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        self.leave(self.linger == Some(Duration::ZERO));
        Ok(Progress::Done)
    }

    /// Messages cross as they are, and no flush makes a call: neither option would do anything.
    fn goes_by(&self, _id: OptionId) -> bool {
        false
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        match (id, value) {
            (OptionId::SoRcvbuf, OptionValue::Int(bytes)) => {
                self.rcvbuf = *bytes;
                if let Some(end) = &self.end {
                    end.set_room(self.room());
                }
            }
            (OptionId::SoLinger, OptionValue::Duration(linger)) => self.linger = *linger,
            _ => return Err(no_such_option("local", id)),
        }
        Ok(())
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        match id {
            OptionId::SoRcvbuf => Ok(OptionValue::Int(self.rcvbuf)),
            OptionId::SoLinger => Ok(OptionValue::Duration(self.linger)),
            _ => Err(no_such_option("local", id)),
        }
    }

    fn local_address(&self) -> Option<Address> {
        let connected = self.end.as_ref().map(End::local);
        let bound = || Some(self.client.as_ref()?.claim.as_ref()?.name());
        connected.or_else(bound).map(Address::from)
    }

    fn remote_address(&self) -> Option<Address> {
        let end = self.end.as_ref().filter(|_| self.is_connected)?;
        Some(end.peer().into())
    }
}

/// A channel that could not be closed resets its peer.
impl Drop for Local {
    fn drop(&mut self) {
        self.leave(true);
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("local", &self.local_address())
            .field("peer", &self.end.as_ref().map(End::peer))
            .field("is_connected", &self.is_connected)
            .field("batch", &self.batch.len())
            .finish_non_exhaustive()
    }
}
