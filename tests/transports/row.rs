//! The table: one row for each kind of stream.
//!
//! A row says how a channel of its kind is bound and connected, and gives a foreign peer to play against: something that
//! does what it is told and nothing by itself (a plain socket, or a channel that reads when asked).
//!
//! To add a kind: write a [`Row`] for it beside its peers (sockets that std can open have theirs in `plain_peer`), list what
//! it can't do in [`Row::lacks`], each with its reason, and put it into [`ROWS`]. No test changes for it, unless a
//! test asks for something that only some kinds have; then that becomes a [`Feature`].

use std::any::Any;
use std::io::{Read, Write};

use tidegate::bootstrap::{Bootstrap, ServerBootstrap};
use tidegate::channel::options::SO_SNDBUF;
use tidegate::channel::{Address, ChannelFuture};
use tidegate::transport::local::{Local, LocalAddress};
use tidegate::transport::oio;
use tidegate::transport::tcp::Tcp;
use tidegate::transport::unix::UnixStream;

use crate::local_peer;
use crate::plain_peer;
use crate::unix_peer;
use crate::ways::Way;

/// Every kind of stream.
pub const ROWS: &[&dyn Row] = &[&TcpRow, &BlockingTcpRow, &UnixRow, &LocalRow];

/// What not every kind can do. A test that needs one of these names it, and does not run over the rows that lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A connect stays under way while the server's queue is full.
    PendingConnect,
    /// A close can reset the connection at will (SO_LINGER), also when nothing was left unread.
    Resets,
    /// Only bytes and file regions can be written.
    BytesOnly,
    /// A file region arrives as the bytes of the file.
    SendsFiles,
    /// A channel that reads nothing still hears that its peer ends or breaks.
    HearsWhilePaused,
    /// A read brings as many bytes as RECV_ALLOCATOR says.
    ReadsBytes,
    /// Its loop makes the calls that write, so many for one flush as WRITE_SPIN_COUNT says.
    LoopWrites,
}

/// One kind of stream.
pub trait Row: Sync {
    /// For the output of a failed test, and for choosing it by the variable `ROW`.
    fn name(&self) -> &'static str;

    /// What it can't do.
    fn lacks(&self) -> &'static [Feature] {
        &[]
    }

    /// Whether this way to build a loop is worth a run. All of them are for a kind that depends on the selector.
    fn runs(&self, way: Way) -> bool {
        let _ = way;
        true
    }

    /// Whether a selector tells it what there is: then one that reports levels can't tell of a peer's closing while
    /// reading is paused.
    fn has_descriptor(&self) -> bool {
        true
    }

    /// An address that is free.
    fn free(&self) -> Address;

    /// A server of this kind.
    fn bind(&self, recipe: ServerBootstrap, address: Address) -> ChannelFuture;

    /// A client of this kind.
    fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture;

    /// The client's send buffer made so small, if it has one, so that it is soon full.
    fn narrow(&self, recipe: Bootstrap, bytes: i32) -> Bootstrap {
        let _ = bytes;
        recipe
    }

    /// The same for the children of a server.
    fn narrow_children(&self, recipe: ServerBootstrap, bytes: i32) -> ServerBootstrap {
        let _ = bytes;
        recipe
    }

    /// A foreign server.
    fn listen(&self) -> Box<dyn Listening>;

    /// An address where nobody listens, and nobody else will while the second part lives.
    fn refusing(&self) -> (Address, Box<dyn Any>) {
        // Free addresses of this kind are used once.
        (self.listen().address(), Box::new(()))
    }

    /// A foreign client of the server at this address.
    fn visit(&self, address: &Address) -> Box<dyn Peer>;

    /// The address of a server that lets nobody in, for as long as the process lives. Only asked of rows that have
    /// [`Feature::PendingConnect`].
    fn full(&self) -> Address;
}

/// A server that is not the subject.
pub trait Listening {
    fn address(&self) -> Address;

    /// The next client.
    fn accept(&self) -> Box<dyn Peer>;
}

/// The other side of a connection. It reads when it is asked to and not before; reads and writes wait, until the tests'
/// deadline. Dropped it closes, with a reset if something was left unread.
pub trait Peer: Read + Write + Send {
    /// A second handle of the same side, for another thread.
    fn again(&self) -> Box<dyn Peer>;

    /// Sends the end.
    fn end_output(&mut self);

    /// The close is to reset the connection.
    fn reset_on_close(&mut self);
}

struct TcpRow;

impl Row for TcpRow {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn free(&self) -> Address {
        "127.0.0.1:0".into()
    }

    fn bind(&self, recipe: ServerBootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<Tcp>().bind(address)
    }

    fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<Tcp>().connect(address)
    }

    fn narrow(&self, recipe: Bootstrap, bytes: i32) -> Bootstrap {
        recipe.option(SO_SNDBUF, bytes)
    }

    fn narrow_children(&self, recipe: ServerBootstrap, bytes: i32) -> ServerBootstrap {
        recipe.child_option(SO_SNDBUF, bytes)
    }

    fn listen(&self) -> Box<dyn Listening> {
        plain_peer::listen()
    }

    fn refusing(&self) -> (Address, Box<dyn Any>) {
        plain_peer::refusing()
    }

    fn visit(&self, address: &Address) -> Box<dyn Peer> {
        plain_peer::visit(address)
    }

    fn full(&self) -> Address {
        plain_peer::full()
    }
}

struct UnixRow;

impl Row for UnixRow {
    fn name(&self) -> &'static str {
        "unix"
    }

    fn lacks(&self) -> &'static [Feature] {
        // The system lets a client in at once, or says that the queue is full.
        &[Feature::PendingConnect, Feature::Resets]
    }

    fn free(&self) -> Address {
        unix_peer::free()
    }

    fn bind(&self, recipe: ServerBootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<UnixStream>().bind(address)
    }

    fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<UnixStream>().connect(address)
    }

    fn narrow(&self, recipe: Bootstrap, bytes: i32) -> Bootstrap {
        recipe.option(SO_SNDBUF, bytes)
    }

    fn narrow_children(&self, recipe: ServerBootstrap, bytes: i32) -> ServerBootstrap {
        recipe.child_option(SO_SNDBUF, bytes)
    }

    fn listen(&self) -> Box<dyn Listening> {
        unix_peer::listen()
    }

    fn visit(&self, address: &Address) -> Box<dyn Peer> {
        unix_peer::visit(address)
    }

    /// Never asked.
    fn full(&self) -> Address {
        unix_peer::free()
    }
}

struct BlockingTcpRow;

/// The same sockets, on threads of their own.
impl Row for BlockingTcpRow {
    fn name(&self) -> &'static str {
        "blocking tcp"
    }

    fn lacks(&self) -> &'static [Feature] {
        // While reading is paused no call is made that could tell, and a thread writes.
        &[Feature::HearsWhilePaused, Feature::LoopWrites]
    }

    /// No descriptor that a selector knows, so that makes no difference; the share of tasks and spinning do.
    fn runs(&self, way: Way) -> bool {
        way.is_default_backend()
    }

    fn has_descriptor(&self) -> bool {
        false
    }

    fn free(&self) -> Address {
        TcpRow.free()
    }

    fn bind(&self, recipe: ServerBootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<oio::Tcp>().bind(address)
    }

    fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<oio::Tcp>().connect(address)
    }

    fn narrow(&self, recipe: Bootstrap, bytes: i32) -> Bootstrap {
        TcpRow.narrow(recipe, bytes)
    }

    fn narrow_children(&self, recipe: ServerBootstrap, bytes: i32) -> ServerBootstrap {
        TcpRow.narrow_children(recipe, bytes)
    }

    fn listen(&self) -> Box<dyn Listening> {
        TcpRow.listen()
    }

    fn refusing(&self) -> (Address, Box<dyn Any>) {
        TcpRow.refusing()
    }

    fn visit(&self, address: &Address) -> Box<dyn Peer> {
        TcpRow.visit(address)
    }

    fn full(&self) -> Address {
        TcpRow.full()
    }
}

struct LocalRow;

impl Row for LocalRow {
    fn name(&self) -> &'static str {
        "local"
    }

    fn lacks(&self) -> &'static [Feature] {
        // Messages of any type cross, as they are: file regions too. There are no calls.
        &[
            Feature::BytesOnly,
            Feature::SendsFiles,
            Feature::ReadsBytes,
            Feature::LoopWrites,
        ]
    }

    /// No descriptor, so the selector makes no difference; the share of tasks and spinning do.
    fn runs(&self, way: Way) -> bool {
        way.is_default_backend()
    }

    fn has_descriptor(&self) -> bool {
        false
    }

    fn free(&self) -> Address {
        LocalAddress::unique().into()
    }

    fn bind(&self, recipe: ServerBootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<Local>().bind(address)
    }

    fn connect(&self, recipe: Bootstrap, address: Address) -> ChannelFuture {
        recipe.transport::<Local>().connect(address)
    }

    fn listen(&self) -> Box<dyn Listening> {
        local_peer::listen()
    }

    fn visit(&self, address: &Address) -> Box<dyn Peer> {
        local_peer::visit(address)
    }

    fn full(&self) -> Address {
        local_peer::full()
    }
}
