//! The vocabulary of errors: what happened ([`ErrorKind`]) and whose doing it was ([`Fault`]).
//!
//! Kinds are for `match`; texts are for people and live with the [`Error`](super::Error). A kind exists
//! where a program would act differently, not for every errno.

use std::fmt;

/// What happened, in a form to match on.
///
/// [`ErrorKind::fault`] gives the party that is usually at fault; a single [`Error`](super::Error) may
/// know better.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The channel is closed, or was closed before the operation was done.
    ChannelClosed,
    /// The operation needs a connected channel.
    NotYetConnected,
    /// The channel is connected already.
    AlreadyConnected,
    /// A connection attempt is still under way.
    ConnectionPending,
    /// No answer to the connection attempt within the time allowed.
    ConnectTimeout,
    /// The peer's machine answered that nobody listens there.
    ConnectRefused,
    /// There is no route to the network or the host.
    Unreachable,
    /// The name of a host could not be looked up.
    Unresolved,
    /// The peer, or something between, ended the connection without a goodbye.
    ConnectionReset,
    /// Another socket has the address.
    AddrInUse,
    /// The address does not belong to this machine.
    AddrNotAvailable,
    /// The output direction of the channel was shut down.
    OutputShutdown,
    /// The operation was cancelled before it was done: a write before its flush, a connect under way, a task
    /// before it ran.
    Cancelled,
    /// The promise was dropped without being completed.
    Dropped,
    /// The promise is complete already, and stays as it is.
    AlreadyDone,
    /// The value of the future was taken before.
    ValueTaken,
    /// A bounded queue is full.
    Rejected,
    /// The event loop has ended, or takes no more work.
    Terminated,
    /// Waiting here would wait for itself: it is the thread that has to do the work.
    Blocking,
    /// This channel, option or platform cannot do that.
    Unsupported,
    /// An argument is outside its allowed range; the text names it and the range.
    InvalidArgument,
    /// A name that must be unique is in use.
    DuplicateName,
    /// The pipeline has no such handler.
    NoSuchHandler,
    /// The thing asked for is in use further up the stack.
    Busy,
    /// The channel is not registered with an event loop.
    NotRegistered,
    /// The file is shorter than the region to be sent.
    FileTooShort,
    /// A handler panicked; it has left its pipeline.
    HandlerPanicked,
    /// A task panicked; its event loop goes on.
    TaskPanicked,
    /// The time allowed is over.
    TimedOut,
    /// Out of descriptors, memory or buffers.
    Exhausted,
    /// The operating system does not allow it.
    PermissionDenied,
    /// A file or a Unix socket path does not exist.
    NotFound,
    /// Another error of the operating system; see [`Error::io_kind`](super::Error::io_kind).
    Io,
    /// The peer sent bytes that its protocol does not allow.
    Malformed,
    /// The peer sent a frame or message above the limit that was set for it.
    TooLong,
    /// The input ended in the middle of a frame or message.
    Truncated,
    /// A value cannot be said in the protocol: its text names the value and the rule.
    Unencodable,
    /// A decoder gave values without consuming bytes, or asked for more without end: it is broken.
    NoProgress,
    /// An error that a handler or a task returned; see the source.
    User,
}

impl ErrorKind {
    /// The party that is usually at fault when this happens.
    pub const fn fault(self) -> Fault {
        use ErrorKind::*;
        match self {
            ConnectTimeout | ConnectRefused | Unreachable | ConnectionReset | Malformed
            | TooLong | Truncated => Fault::Peer,
            AddrInUse | Exhausted | Io | Unresolved => Fault::Machine,
            ChannelClosed | NotYetConnected | AlreadyConnected | ConnectionPending
            | AddrNotAvailable | OutputShutdown | Cancelled | Dropped | AlreadyDone
            | ValueTaken | Rejected | Terminated | Blocking | Unsupported | InvalidArgument
            | DuplicateName | NoSuchHandler | Busy | NotRegistered | FileTooShort
            | HandlerPanicked | TaskPanicked | TimedOut | PermissionDenied | NotFound
            | Unencodable | NoProgress | User => Fault::Caller,
        }
    }

    /// The kind in words, without the circumstances.
    pub const fn as_str(self) -> &'static str {
        use ErrorKind::*;
        match self {
            ChannelClosed => "channel closed",
            NotYetConnected => "not yet connected",
            AlreadyConnected => "already connected",
            ConnectionPending => "connection attempt pending",
            ConnectTimeout => "connection attempt timed out",
            ConnectRefused => "connection refused",
            Unreachable => "host or network unreachable",
            Unresolved => "host name not found",
            ConnectionReset => "connection reset",
            AddrInUse => "address in use",
            AddrNotAvailable => "address not available on this machine",
            OutputShutdown => "output shut down",
            Cancelled => "cancelled",
            Dropped => "promise dropped",
            AlreadyDone => "promise already complete",
            ValueTaken => "value already taken",
            Rejected => "queue full",
            Terminated => "event loop terminated",
            Blocking => "would wait for itself",
            Unsupported => "not supported",
            InvalidArgument => "invalid argument",
            DuplicateName => "duplicate name",
            NoSuchHandler => "no such handler",
            Busy => "in use",
            NotRegistered => "channel not registered",
            FileTooShort => "file too short",
            HandlerPanicked => "handler panicked",
            TaskPanicked => "task panicked",
            TimedOut => "timed out",
            Exhausted => "out of descriptors, memory or buffers",
            PermissionDenied => "permission denied",
            NotFound => "not found",
            Io => "i/o error",
            Malformed => "bytes that the protocol does not allow",
            TooLong => "frame too long",
            Truncated => "input ended in the middle of a frame",
            Unencodable => "cannot be encoded",
            NoProgress => "decoder made no progress",
            User => "error in a handler or task",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose doing an error is, which tells who has to act.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The other end, or the network between: log it at most, and go on.
    Peer,
    /// The program that uses this library: the text says what to change.
    Caller,
    /// This machine: a limit, a missing resource, a setting of the kernel.
    Machine,
    /// This library: please report it.
    Us,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Peer => "peer",
            Fault::Caller => "caller",
            Fault::Machine => "machine",
            Fault::Us => "tidegate",
        })
    }
}
