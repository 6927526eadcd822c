//! The machine of connected streams: a read, a flush, and what comes of their system calls. It knows a descriptor and a name
//! for the peer; what kind of socket it is, is its callers' business: the core, where a transport says that a message is one
//! call ([`Transport::receiver`], [`Transport::sender`]), and the transports, for what takes more.

use std::fmt::{self, Display};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::BytesMut;
use tidegate_sys::os::{io as sys, net, send_file};

use super::outbound::{Front, OutboundBuffer};
use super::transport::{Flush, Io, Read, ReadBytes, Transport};
use crate::buffer::{FileRegion, Message};
use crate::error::{Error, ErrorKind};

/// The peer of a transport, for the text of errors.
pub(crate) struct PeerOf<'a>(pub(crate) &'a dyn Transport);

impl Display for PeerOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.remote_address() {
            Some(peer) => peer.fmt(f),
            None => f.write_str("an unknown peer"),
        }
    }
}

/// The most bytes of one send. macOS refuses 2 GiB and more, Linux stops there, and below it a short count means
/// one thing only: the socket is full.
pub(crate) const SEND_MAX: usize = 1 << 30;

/// One read into the loop's arena.
#[inline]
pub(crate) fn read(
    socket: BorrowedFd<'_>,
    io: &mut Io<'_>,
    peer: &dyn Display,
) -> Result<Read, Error> {
    read_by(io, peer, |room, max| sys::recv_into(socket, room, max))
}

/// The same, with whatever reads.
#[inline]
pub(crate) fn read_by(
    io: &mut Io<'_>,
    peer: &dyn Display,
    read: impl FnMut(&mut BytesMut, usize) -> io::Result<usize>,
) -> Result<Read, Error> {
    let read = io.read_bytes(read);
    received(read, io.short_read_drains(), peer)
}

/// What one read means; `drains` if a short one empties the source.
#[inline]
pub(crate) fn received(
    read: io::Result<ReadBytes>,
    drains: bool,
    peer: &dyn Display,
) -> Result<Read, Error> {
    match read {
        Ok(read) if read.bytes.is_empty() => Ok(Read::Eof),
        Ok(read) if !read.filled && drains => Ok(Read::Last(Message::from(read.bytes))),
        Ok(read) => Ok(Read::Message(Message::from(read.bytes))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::WouldBlock),
        Err(error) => Err(Error::io(format!("reading from {peer}"), error)),
    }
}

/// What has broken a connection whose input is over, if something has. Behind the end of a peer Linux goes on reading that
/// end to whoever reads (SOCK_DONE in tcp_recvmsg), whatever has become of the connection since: a reset is told by SO_ERROR
/// alone, as EPIPE (tcp_reset in CLOSE_WAIT).
#[cold]
pub(crate) fn broken(transport: &dyn Transport) -> Option<Error> {
    // What is no socket has no such error.
    let error = net::take_error(transport.as_fd()?).ok()??;
    let peer = PeerOf(transport);
    let text = format!("the connection with {peer}, after the end of its input");
    Some(Error::io(text, error))
}

/// Sends what was flushed, with at most `spins` system calls.
///
/// A send that takes less than it was offered has filled the socket, which will report when there is room again:
/// the edge-triggered kernel has noted that somebody found it full, and the others ask anew each time. So it ends
/// the flush as EAGAIN would, and the call that would only bring EAGAIN is saved.
///
/// `send_object` sends the oldest message if that is neither bytes nor a part of a file.
#[inline]
pub(crate) fn flush(
    socket: BorrowedFd<'_>,
    spins: u32,
    out: &mut OutboundBuffer,
    peer: &dyn Display,
    mut send_object: impl FnMut(&mut OutboundBuffer) -> Result<Step, Error>,
) -> Result<Flush, Error> {
    for _ in 0..spins {
        match step(socket, out, peer, &mut send_object)? {
            Step::Went if out.flushed_len() == 0 => return Ok(Flush::Drained),
            Step::Went => {}
            Step::Full => return Ok(Flush::Blocked),
            Step::Empty => return Ok(Flush::Drained),
        }
    }
    Ok(if out.flushed_len() == 0 {
        Flush::Drained
    } else {
        Flush::Yielded
    })
}

/// What came of one step of a flush.
#[derive(Debug)]
pub enum Step {
    /// One system call was made, and went well; or a message was refused.
    Went,
    /// The socket takes no more.
    Full,
    /// There is nothing to send.
    Empty,
}

/// How a flush goes on after a send of its only message, `offered` bytes, which has not simply taken all.
#[cold]
#[inline(never)]
pub(crate) fn sent_alone(
    offered: usize,
    sent_bytes: io::Result<usize>,
    out: &mut OutboundBuffer,
    peer: &dyn Display,
) -> Result<Flush, Error> {
    let step = sent(offered, sent_bytes, peer, |sent| {
        let _ = out.advance(sent);
    })?;
    Ok(match step {
        Step::Full => Flush::Blocked,
        Step::Went | Step::Empty => Flush::Drained,
    })
}

/// What comes of a system call that was offered so many bytes.
#[inline]
pub(crate) fn sent(
    offered: usize,
    sent: io::Result<usize>,
    peer: &dyn Display,
    advance: impl FnOnce(usize),
) -> Result<Step, Error> {
    match sent {
        Ok(sent) => {
            advance(sent);
            Ok(if sent < offered {
                Step::Full
            } else {
                Step::Went
            })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Full),
        Err(error) => Err(Error::io(format!("sending to {peer}"), error)),
    }
}

/// Fails the oldest message, which a stream can't send.
#[cold]
pub(crate) fn refuse_object(out: &mut OutboundBuffer) {
    let Front::Object(object) = out.front() else {
        return;
    };
    let text = format!("a socket can't send a {}", object.type_name());
    let _ = out.fail_front(Error::new(ErrorKind::Unsupported, text));
}

/// Up to the first system call.
#[inline]
fn step(
    socket: BorrowedFd<'_>,
    out: &mut OutboundBuffer,
    peer: &dyn Display,
    send_object: &mut impl FnMut(&mut OutboundBuffer) -> Result<Step, Error>,
) -> Result<Step, Error> {
    loop {
        let is_alone = out.flushed_len() == 1;
        let (offered, taken) = match out.front() {
            Front::Empty => return Ok(Step::Empty),
            Front::Bytes([]) => {
                let _ = out.advance(0);
                continue;
            }
            Front::Bytes(bytes) if is_alone || bytes.len() >= SEND_MAX => {
                let offered = &bytes[..bytes.len().min(SEND_MAX)];
                (offered.len(), sys::send(socket, offered))
            }
            Front::Bytes(_) => gather(socket, out),
            Front::Region(region) if region.is_done() => {
                let _ = out.complete_front();
                continue;
            }
            Front::Region(_) => return send_region(socket, out, peer),
            Front::Object(_) => return send_object(out),
        };
        return sent(offered, taken, peer, |sent| {
            let _ = out.advance(sent);
        });
    }
}

/// Several buffers with one call (C12, C13): how many bytes were offered, and what came of it.
fn gather(socket: BorrowedFd<'_>, out: &mut OutboundBuffer) -> (usize, io::Result<usize>) {
    if out.gather_max() > SEND_MAX {
        out.set_gather_max(SEND_MAX);
    }
    let (offered, sent) = out.gather(|slices, offered| {
        let sent = match slices {
            [only] => sys::send(socket, only),
            _ => sys::send_vectored(socket, slices),
        };
        (offered, sent)
    });
    if let Ok(sent) = sent {
        out.adapt_gather_max(offered, sent);
    }
    (offered, sent)
}

/// A part of a file. A short count means nothing here: it may be the end of a page as well as a full socket.
///
/// A region that can't be sent fails its own write first; then the stream has a gap where its bytes should be, so
/// the caller gives up the connection (C20).
fn send_region(
    socket: BorrowedFd<'_>,
    out: &mut OutboundBuffer,
    peer: &dyn Display,
) -> Result<Step, Error> {
    let Some(region) = out.front_region() else {
        return Ok(Step::Went);
    };
    let sent = region.transfer(|file, offset, left| {
        let count = usize::try_from(left).unwrap_or(SEND_MAX).min(SEND_MAX);
        send_file(socket, file.as_fd(), offset, count)
    });
    match sent {
        Ok(_) if region.is_done() => {
            let _ = out.complete_front();
            Ok(Step::Went)
        }
        Ok(_) => Ok(Step::Went),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Full),
        Err(error) => {
            let error = Error::io(format!("sending {region:?} to {peer}"), error);
            let _ = out.fail_front(error.clone());
            Err(error)
        }
    }
}

/// What a stream of bytes can send.
#[inline]
pub(crate) fn accepts(msg: &Message) -> bool {
    msg.readable_bytes().is_some() || msg.is::<FileRegion>()
}
