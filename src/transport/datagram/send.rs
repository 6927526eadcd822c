//! Sending: what was flushed goes in batches, and datagrams of one length to one peer go as one where the kernel cuts
//! them again (UDP_SEGMENT).

use std::fmt::Display;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, DATAGRAMS_MAX, Outgoing};

use super::kind::{DatagramKind, NameOf};
use crate::buffer::Message;
use crate::channel::{Datagram, Flush, OutboundBuffer};
use crate::error::{Error, ErrorKind};
use crate::transport::socket::Descriptors;
use crate::transport::socket::domain::Domain;

/// The most datagrams of one call.
const TAKEN_MAX: usize = 256;

/// The most datagrams that travel as one: UDP_MAX_SEGMENTS of Linux before 6.2; later ones take 128.
const SEGMENTS_MAX: usize = 64;

/// The most bytes that travel as one: what an IPv4 packet has room for after its headers.
const JOINED_MAX: usize = 65_507;

/// What one socket keeps for sending.
pub(crate) struct Sender<K: DatagramKind> {
    /// The kernel, or the device, does not cut: learned from its answer, or known.
    cannot_cut: bool,
    /// The most messages of one flush.
    messages_max: usize,
    /// Both kept for their memory.
    taken: Vec<Message>,
    runs: Vec<Run<NameOf<K>>>,
}

/// A few datagrams that go as one, or one.
struct Run<N> {
    /// The first `count` slices after those of the run before.
    count: usize,
    bytes: usize,
    to: To<N>,
    /// The length of all but the last.
    segment: usize,
}

#[derive(PartialEq)]
struct To<N> {
    peer: Option<N>,
    local: Option<IpAddr>,
}

impl<K: DatagramKind> Sender<K> {
    pub(crate) fn new() -> Self {
        Self {
            cannot_cut: !K::IS_CUT,
            messages_max: i32::MAX as usize,
            taken: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn messages_max(&self) -> usize {
        self.messages_max
    }

    /// From the next flush on, at least 1; without a limit at first.
    pub(crate) fn set_messages_max(&mut self, messages: usize) {
        self.messages_max = messages.max(1);
    }

    /// Sends what was flushed, with at most `spins` system calls and, if there is a limit, no more messages than that. One
    /// that failed counts, and descriptors go with the datagram behind them whatever is left. The error of a datagram fails
    /// its own write and no other (C21).
    pub(crate) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        spins: u32,
        out: &mut OutboundBuffer,
    ) -> Flush {
        let mut taken = std::mem::take(&mut self.taken);
        let mut outcome = None;
        // What is flushed meanwhile is for the next time.
        let stop_at = out.flushed_len().saturating_sub(self.messages_max);
        for _ in 0..spins {
            let most = out.flushed_len().saturating_sub(stop_at);
            outcome = self.step(socket, out, &mut taken, most);
            while let Some(message) = taken.pop() {
                out.put_back(message);
            }
            if outcome.is_some() || out.flushed_len() <= stop_at {
                break;
            }
        }
        self.taken = taken;
        outcome.unwrap_or(if out.flushed_len() == 0 {
            Flush::Drained
        } else {
            Flush::Yielded
        })
    }

    /// One system call for at most so many messages; `Some` if it was the last. What stays in `taken` was not sent.
    fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut OutboundBuffer,
        taken: &mut Vec<Message>,
        most: usize,
    ) -> Option<Flush> {
        take(K::HAS_DESCRIPTORS, out, taken, most.min(TAKEN_MAX));
        match taken.first() {
            None => return Some(Flush::Drained),
            Some(first) if K::HAS_DESCRIPTORS && first.is::<Descriptors>() => {
                return send_with_descriptors::<K>(socket, out, taken);
            }
            Some(_) => {}
        }
        let mut slices = [IoSlice::new(&[]); TAKEN_MAX];
        let joins = !self.cannot_cut;
        let runs = &mut self.runs;
        runs.clear();
        let mut refused = None;
        for (index, message) in taken.iter().enumerate() {
            let added = parts::<K>(message).map(|(to, bytes)| {
                slices[index] = IoSlice::new(bytes);
                add(runs, joins, to, bytes.len())
            });
            match added {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    refused = (index == 0).then_some(error);
                    break;
                }
            }
        }
        if let Some(error) = refused {
            fail_first(out, taken, error);
            return None;
        }
        let batch = outgoing(runs, &slices);
        match send::<K>(socket, &batch[..runs.len()]) {
            Ok(sent) => {
                let count: usize = runs[..sent].iter().map(|run| run.count).sum();
                complete(out, taken, count);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Flush::Blocked),
            Err(error) if runs[0].count > 1 && may_be_about_cutting(&error) => {
                self.cannot_cut = true;
                None
            }
            Err(error) => {
                fail_first(out, taken, failure(runs[0].to.peer.as_ref(), error));
                None
            }
        }
    }
}

/// Fails the oldest write, and no other.
#[cold]
fn fail_first(out: &mut OutboundBuffer, taken: &mut Vec<Message>, error: Error) {
    while taken.len() > 1
        && let Some(message) = taken.pop()
    {
        out.put_back(message);
    }
    taken.clear();
    let _ = out.fail_front(error);
}

/// Takes messages out of the buffer: datagrams, or descriptors with the message behind them.
fn take(
    has_descriptors: bool,
    out: &mut OutboundBuffer,
    taken: &mut Vec<Message>,
    mut most: usize,
) {
    while taken.len() < most
        && let Some(message) = out.take_front()
    {
        if has_descriptors && message.is::<Descriptors>() {
            if !taken.is_empty() {
                out.put_back(message);
                break;
            }
            most = 2;
        }
        taken.push(message);
    }
}

/// The oldest `count` are sent; the rest goes back to the buffer behind them.
fn complete(out: &mut OutboundBuffer, taken: &mut Vec<Message>, count: usize) {
    taken.drain(..count);
    while let Some(message) = taken.pop() {
        out.put_back(message);
    }
    let _ = out.complete_taken(count);
}

/// Sends what stands first in `taken`: descriptors, with their own bytes as a datagram or with the one behind them. If that
/// fails both do: a datagram without what belongs to it is another one.
fn send_with_descriptors<K: DatagramKind>(
    socket: BorrowedFd<'_>,
    out: &mut OutboundBuffer,
    taken: &mut Vec<Message>,
) -> Option<Flush> {
    let (count, sent) = match attached::<K>(taken) {
        Ok((count, to, bytes, descriptors)) => {
            let outgoing = Outgoing {
                slices: &[IoSlice::new(bytes)],
                peer: to.peer.as_ref(),
                segment: None,
                local: to.local,
                descriptors: &descriptors,
            };
            let sent = send::<K>(socket, &[outgoing]);
            if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return Some(Flush::Blocked);
            }
            (
                count,
                sent.map_err(|error| failure(to.peer.as_ref(), error)),
            )
        }
        Err(error) => (taken.len(), Err(error)),
    };
    match sent {
        Ok(_) => complete(out, taken, count),
        Err(error) => {
            fail_first(out, taken, error.clone());
            if count > 1 {
                let _ = out.fail_front(error);
            }
        }
    }
    None
}

/// How many messages go together, to whom, their bytes and their descriptors.
type Attached<'a, N> = (usize, To<N>, &'a [u8], Vec<BorrowedFd<'a>>);

fn attached<K: DatagramKind>(taken: &[Message]) -> Result<Attached<'_, NameOf<K>>, Error> {
    let first = taken.first().and_then(Message::downcast_ref::<Descriptors>);
    match (first, taken.get(1)) {
        (Some(first), _) if !first.bytes().is_empty() => {
            Ok((1, To::nobody(), first.bytes(), first.borrowed()?))
        }
        (Some(first), Some(second)) => {
            let (to, bytes) = parts::<K>(second)?;
            Ok((2, to, bytes, first.borrowed()?))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            "descriptors travel with a datagram: flush them together with the one behind them",
        )),
    }
}

/// One system call, or two: a socket that found no room tells of some only if the room is its own.
fn send<K: DatagramKind>(
    socket: BorrowedFd<'_>,
    batch: &[Outgoing<'_, NameOf<K>>],
) -> io::Result<usize> {
    let is_full = |sent: &io::Result<usize>| {
        matches!(sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            && batch.first().is_some_and(|first| first.peer.is_some())
            && K::is_peer_full(socket)
    };
    let sent = net::send_many(socket, batch);
    if !is_full(&sent) {
        return sent;
    }
    let again = net::send_many(socket, batch);
    if !is_full(&again) {
        return again;
    }
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        "the queue of the socket there is full; a channel that is connected to it would wait",
    ))
}

fn failure<N: Display>(peer: Option<&N>, error: io::Error) -> Error {
    let text = match peer {
        Some(peer) => format!("sending a datagram to {peer}"),
        None => "sending a datagram".to_owned(),
    };
    Error::io(text, error)
}

/// Whom a message goes to, and its bytes.
fn parts<K: DatagramKind>(message: &Message) -> Result<(To<NameOf<K>>, &[u8]), Error> {
    if let Some(bytes) = message.as_bytes() {
        return Ok((To::nobody(), bytes));
    }
    let Some(datagram) = message.downcast_ref::<Datagram>() else {
        let text = format!("a datagram channel can't send a {}", message.type_name());
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let to = To {
        peer: Some(K::Domain::name(
            K::NAME,
            &datagram.peer,
            "send a datagram to",
        )?),
        local: datagram.local,
    };
    Ok((to, &datagram.content))
}

/// Adds a datagram to those of one call; false if there is no room for it.
fn add<N: PartialEq>(runs: &mut Vec<Run<N>>, joins: bool, to: To<N>, bytes: usize) -> bool {
    if let Some(last) = runs.last_mut()
        && joins
        && last.takes(&to, bytes)
    {
        last.count += 1;
        last.bytes += bytes;
        return true;
    }
    if runs.len() == DATAGRAMS_MAX {
        return false;
    }
    runs.push(Run {
        count: 1,
        bytes,
        to,
        segment: bytes,
    });
    true
}

/// The runs with their slices; behind the last run the array is empty.
fn outgoing<'a, N>(
    runs: &'a [Run<N>],
    slices: &'a [IoSlice<'a>],
) -> [Outgoing<'a, N>; DATAGRAMS_MAX] {
    let mut rest = slices;
    let mut runs = runs.iter();
    std::array::from_fn(|_| {
        let run = runs.next();
        let (mine, others) = rest.split_at(run.map_or(0, |run| run.count));
        rest = others;
        Outgoing {
            slices: mine,
            peer: run.and_then(|run| run.to.peer.as_ref()),
            segment: run
                .filter(|run| run.count > 1)
                .and_then(|run| u16::try_from(run.segment).ok()),
            local: run.and_then(|run| run.to.local),
            descriptors: &[],
        }
    })
}

impl<N> To<N> {
    /// The peer of a connected socket.
    fn nobody() -> Self {
        Self {
            peer: None,
            local: None,
        }
    }
}

impl<N: PartialEq> Run<N> {
    /// Whether a datagram can travel with these: to the same peer, none longer than the first, and only the last
    /// shorter. An empty one has no place in it.
    fn takes(&self, to: &To<N>, bytes: usize) -> bool {
        bytes > 0
            && bytes <= self.segment
            && self.bytes == self.count * self.segment
            && self.count < SEGMENTS_MAX
            && self.bytes + bytes <= JOINED_MAX
            && self.to == *to
    }
}

/// What kernels and devices answer that do not cut: ENOPROTOOPT, EOPNOTSUPP and EINVAL from older kernels, EIO from devices
/// without checksums, EMSGSIZE for a length beyond the path's.
fn may_be_about_cutting(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    !matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::PermissionDenied
            | Kind::OutOfMemory
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn to(port: u16) -> To<SocketAddr> {
        To {
            peer: Some(SocketAddr::from(([192, 0, 2, 1], port))),
            local: None,
        }
    }

    fn counts(joins: bool, datagrams: &[(u16, usize)]) -> Vec<usize> {
        let mut runs = Vec::new();
        for (port, bytes) in datagrams {
            assert!(add(&mut runs, joins, to(*port), *bytes));
        }
        runs.iter().map(|run| run.count).collect()
    }

    #[test]
    fn only_what_the_kernel_cuts_back_into_the_same_datagrams_is_joined() {
        assert_eq!(counts(true, &[(1, 64), (1, 64), (1, 64)]), [3]);
        // A shorter one ends the run, a longer one begins another.
        assert_eq!(counts(true, &[(1, 64), (1, 10), (1, 10)]), [2, 1]);
        assert_eq!(counts(true, &[(1, 10), (1, 64)]), [1, 1]);
        assert_eq!(counts(true, &[(1, 64), (2, 64)]), [1, 1]);
        assert_eq!(counts(true, &[(1, 64), (1, 0), (1, 0)]), [1, 1, 1]);
        assert_eq!(counts(false, &[(1, 64), (1, 64)]), [1, 1]);
        assert_eq!(counts(true, &[(1, 40_000), (1, 40_000)]), [1, 1]);
        assert_eq!(counts(true, &[(1, 1); 100]), [64, 36]);
    }
}
