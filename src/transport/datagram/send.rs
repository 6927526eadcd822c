//! Sending: what was flushed goes in batches, and datagrams of one length to one peer go as one where the kernel cuts
//! them again (UDP_SEGMENT).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, DATAGRAMS_MAX, Outgoing};

use crate::buffer::Message;
use crate::channel::{Datagram, Flush, OutboundBuffer};
use crate::error::{Error, ErrorKind};

/// The most datagrams of one call.
const TAKEN_MAX: usize = 256;

/// The most datagrams that travel as one: UDP_MAX_SEGMENTS of Linux before 6.2; later ones take 128.
const SEGMENTS_MAX: usize = 64;

/// The most bytes that travel as one: what an IPv4 packet has room for after its headers.
const JOINED_MAX: usize = 65_507;

/// What one socket keeps for sending.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// The kernel, or the device, does not cut: learned from its answer.
    cannot_cut: bool,
    /// Both kept for their memory.
    taken: Vec<Message>,
    runs: Vec<Run>,
}

/// A few datagrams that go as one, or one.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first `count` slices after those of the run before.
    count: usize,
    bytes: usize,
    to: To,
    /// The length of all but the last.
    segment: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct To {
    peer: Option<SocketAddr>,
    local: Option<std::net::IpAddr>,
}

impl Sender {
    /// Sends what was flushed, with at most `spins` system calls. The error of a datagram fails its own write and no other
    /// (C21).
    pub(crate) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        spins: u32,
        out: &mut OutboundBuffer,
    ) -> Flush {
        let mut taken = std::mem::take(&mut self.taken);
        let mut outcome = None;
        for _ in 0..spins {
            outcome = self.step(socket, out, &mut taken);
            while let Some(message) = taken.pop() {
                out.put_back(message);
            }
            if outcome.is_some() {
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

    /// One system call; `Some` if it was the last. What stays in `taken` was not sent.
    fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut OutboundBuffer,
        taken: &mut Vec<Message>,
    ) -> Option<Flush> {
        while taken.len() < TAKEN_MAX
            && let Some(message) = out.take_front()
        {
            taken.push(message);
        }
        if taken.is_empty() {
            return Some(Flush::Drained);
        }
        let mut slices = [IoSlice::new(&[]); TAKEN_MAX];
        let joins = !self.cannot_cut;
        let runs = &mut self.runs;
        runs.clear();
        let mut refused = None;
        for (index, message) in taken.iter().enumerate() {
            let added = parts(message).map(|(to, bytes)| {
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
        match net::send_many(socket, &batch[..runs.len()]) {
            Ok(sent) => {
                let count: usize = runs[..sent].iter().map(|run| run.count).sum();
                // Those are done; the rest goes back to the buffer behind them.
                taken.drain(..count);
                while let Some(message) = taken.pop() {
                    out.put_back(message);
                }
                let _ = out.complete_taken(count);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Flush::Blocked),
            Err(error) if runs[0].count > 1 && may_be_about_cutting(&error) => {
                self.cannot_cut = true;
                None
            }
            Err(error) => {
                let text = match runs[0].to.peer {
                    Some(peer) => format!("sending a datagram to {peer}"),
                    None => "sending a datagram".to_owned(),
                };
                fail_first(out, taken, Error::io(text, error));
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

/// Whom a message goes to, and its bytes.
fn parts(message: &Message) -> Result<(To, &[u8]), Error> {
    if let Some(bytes) = message.as_bytes() {
        let nobody = To {
            peer: None,
            local: None,
        };
        return Ok((nobody, bytes));
    }
    let Some(datagram) = message.downcast_ref::<Datagram>() else {
        let text = format!("a datagram channel can't send a {}", message.type_name());
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let Some(peer) = datagram.peer.as_inet() else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "a datagram can't go to {}: it takes an IP address with a port; look names up first",
                datagram.peer
            ),
        ));
    };
    let to = To {
        peer: Some(peer),
        local: datagram.local,
    };
    Ok((to, &datagram.content))
}

/// Adds a datagram to those of one call; false if there is no room for it.
fn add(runs: &mut Vec<Run>, joins: bool, to: To, bytes: usize) -> bool {
    if let Some(last) = runs.last_mut()
        && joins
        && last.takes(to, bytes)
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
fn outgoing<'a>(runs: &'a [Run], slices: &'a [IoSlice<'a>]) -> [Outgoing<'a>; DATAGRAMS_MAX] {
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

impl Run {
    /// Whether a datagram can travel with these: to the same peer, none longer than the first, and only the last
    /// shorter. An empty one has no place in it.
    fn takes(&self, to: To, bytes: usize) -> bool {
        bytes > 0
            && bytes <= self.segment
            && self.bytes == self.count * self.segment
            && self.count < SEGMENTS_MAX
            && self.bytes + bytes <= JOINED_MAX
            && self.to == to
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
    use super::*;

    fn to(port: u16) -> To {
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
