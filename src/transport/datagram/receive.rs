//! Receiving: one call brings many datagrams, which are handed out one by one.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;

use bytes::{Bytes, BytesMut};
use tidegate_sys::os::errno;
use tidegate_sys::os::net::{self, DATAGRAMS_MAX, Received};
use tracing::warn;

use super::kind::{DatagramKind, NameOf};
use crate::buffer::Message;
use crate::channel::{Datagram, Io, Read};
use crate::error::{Error, ErrorKind, Fault};
use crate::event_loop::LoopCore;
use crate::transport::socket::descriptors::{self, Descriptors};

/// The most bytes that a datagram of ours, or several joined by the kernel, can have.
const JOINED_MAX: usize = 65_535;

/// Batches of joined datagrams are shorter: each of their places is 64 KiB.
const JOINED_BATCH: usize = 8;

/// Errors in a row after which a socket is taken for broken: those of datagrams come one at a time.
const FAILURES_MAX: u32 = 256;

/// What one socket keeps for receiving.
pub(crate) struct Receiver<K: DatagramKind> {
    /// The most bytes of one datagram.
    size_max: usize,
    /// The kernel may join datagrams (UDP_GRO).
    joined: bool,
    /// Received, and not handed out yet.
    waiting: VecDeque<Result<Message, Error>>,
    /// The turn of the loop in which the last call brought fewer than were asked for. The socket is empty until the selector is
    /// asked again: what it reports then is behind those that wait here, however much later they are handed out.
    drained_in: Option<u64>,
    failures: u32,
    /// A log has said that datagrams are too long. Once: they come as fast as peers like.
    has_told: bool,
    /// Kept for its memory.
    told: Vec<Received<NameOf<K>>>,
}

impl<K: DatagramKind> Receiver<K> {
    pub(crate) fn new() -> Self {
        Self {
            size_max: K::SIZE_MAX,
            joined: false,
            waiting: VecDeque::new(),
            drained_in: None,
            failures: 0,
            has_told: false,
            told: Vec::new(),
        }
    }

    pub(crate) fn size_max(&self) -> usize {
        self.size_max
    }

    pub(crate) fn set_size_max(&mut self, bytes: usize) {
        self.size_max = bytes;
    }

    pub(crate) fn set_joined(&mut self, joined: bool) {
        self.joined = joined;
    }

    /// The next datagram, or the error of one.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>, io: &mut Io<'_>) -> Result<Read, Error> {
        let turn = io.metrics().turns.get();
        self.read_by(turn, |each, most, told| {
            io.read_room(each * most, |room, _| {
                net::recv_many(socket, room, each, most, told)
            })
        })
    }

    /// The same in this turn of the loop, with whatever receives: up to so many datagrams of up to so many bytes, what is told
    /// about each, and their bytes one after the other.
    pub(crate) fn read_by(
        &mut self,
        turn: u64,
        receive: impl FnOnce(usize, usize, &mut Vec<Received<NameOf<K>>>) -> io::Result<BytesMut>,
    ) -> Result<Read, Error> {
        if self.waiting.is_empty() {
            match self.receive(turn, receive) {
                Ok(()) => self.failures = 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Read::WouldBlock);
                }
                // What the network answered to a datagram that was sent before, or a shortage: the socket is well (D24).
                Err(error) => {
                    self.failures += 1;
                    let error = Error::io("receiving a datagram", error);
                    return if self.failures < FAILURES_MAX && belongs_to_a_datagram(&error) {
                        Ok(Read::Failed(error))
                    } else {
                        Err(error)
                    };
                }
            }
        }
        Ok(match self.waiting.pop_front() {
            None => Read::WouldBlock,
            Some(Err(error)) => Read::Failed(error),
            Some(Ok(message)) => {
                if self.drained_in == Some(turn) && self.waiting.is_empty() {
                    Read::Last(message)
                } else {
                    Read::Message(message)
                }
            }
        })
    }

    /// The bytes of the longest datagram, or of several joined ones, and how many one call has room for.
    pub(crate) fn room(&self) -> (usize, usize) {
        if self.joined {
            (JOINED_MAX, JOINED_BATCH)
        } else {
            (self.size_max, DATAGRAMS_MAX)
        }
    }

    fn receive(
        &mut self,
        turn: u64,
        receive: impl FnOnce(usize, usize, &mut Vec<Received<NameOf<K>>>) -> io::Result<BytesMut>,
    ) -> io::Result<()> {
        let (each, most) = self.room();
        let mut bytes = receive(each, most, &mut self.told)?;
        // An edge-triggered selector tells of each further datagram, so a short batch is the end of them.
        self.drained_in = (self.told.len() < most).then_some(turn);
        for received in self.told.drain(..) {
            let whole = bytes.split_to(received.len);
            unpack::<K>(
                whole,
                received,
                self.size_max,
                &mut self.has_told,
                &mut self.waiting,
            );
        }
        Ok(())
    }
}

/// Cuts what the kernel joined, and finds what it cut off.
fn unpack<K: DatagramKind>(
    whole: BytesMut,
    received: Received<NameOf<K>>,
    size_max: usize,
    has_told: &mut bool,
    waiting: &mut VecDeque<Result<Message, Error>>,
) {
    let peer = &received.peer;
    if K::HAS_DESCRIPTORS && received.lost_descriptors {
        // A datagram without all that belongs to it is another one. What came of it is closed here.
        waiting.push_back(Err(descriptors::lost(peer)));
        return;
    }
    let mut one = |content: Bytes, is_truncated: bool| {
        if is_truncated || content.len() > size_max {
            let text = format!(
                "a datagram from {peer} has more than {size_max} bytes (MAX_DATAGRAM_PAYLOAD_SIZE) and was dropped"
            );
            note_lost(K::NAME, has_told, &text);
            return Err(Error::new(ErrorKind::TooLong, text).with_fault(Fault::Peer));
        }
        Ok(Message::new(Datagram {
            content,
            peer: peer.clone().into(),
            local: received.local,
            class: received.class,
        }))
    };
    let mut whole = whole.freeze();
    if received.segment > 0 {
        while whole.len() > received.segment {
            let content = whole.split_to(received.segment);
            waiting.push_back(one(content, false));
        }
    }
    let last = one(whole, received.is_truncated);
    if last.is_ok() && !received.descriptors.is_empty() {
        let descriptors = Descriptors::from_iter(received.descriptors);
        waiting.push_back(Ok(descriptors.into()));
    }
    waiting.push_back(last);
}

/// Each is an error in `exception_caught`, and the peer's, who may send as many as it likes. But mostly it is the option that is
/// wrong, and a program that hears nothing of what it waits for needs a word.
#[cold]
fn note_lost(kind: &str, has_told: &mut bool, text: &str) {
    LoopCore::with_current(|core| core.metrics().channel.oversized_datagrams.add(1));
    if !mem::replace(has_told, true) {
        warn!(
            kind,
            "{text}: the option is too small for what peers send; said once per channel, counted in the loop's metrics"
        );
    }
}

/// Whether the error is about a datagram, or about this moment, and not about the socket.
fn belongs_to_a_datagram(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectRefused
            | ErrorKind::Unreachable
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectTimeout
            | ErrorKind::TimedOut
            | ErrorKind::Exhausted
            | ErrorKind::PermissionDenied
            | ErrorKind::TooLong
    ) || matches!(
        error.io_kind(),
        Some(
            io::ErrorKind::NetworkDown
                | io::ErrorKind::InvalidData
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::FileTooLarge
        )
    ) || is_of_the_path(error)
}

/// A router could not pass a datagram on: ICMP, "fragmentation needed", which Linux tells a connected socket of as EMSGSIZE,
/// with whatever call comes next (udp_err).
fn is_of_the_path(error: &Error) -> bool {
    error.raw_os_error() == Some(errno::EMSGSIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::udp::UdpKind;

    fn received(len: usize, segment: usize, is_truncated: bool) -> Received {
        Received {
            peer: "192.0.2.1:7".parse().unwrap(),
            len,
            segment,
            is_truncated,
            local: None,
            class: None,
            descriptors: Vec::new(),
            lost_descriptors: false,
        }
    }

    fn lengths(len: usize, segment: usize, is_truncated: bool) -> Vec<Option<usize>> {
        let mut waiting = VecDeque::new();
        let whole = BytesMut::zeroed(len);
        unpack::<UdpKind>(
            whole,
            received(len, segment, is_truncated),
            2048,
            &mut false,
            &mut waiting,
        );
        let length = |one: Result<Message, Error>| {
            let datagram = one.ok()?.downcast::<Datagram>().expect("a datagram");
            Some(datagram.content.len())
        };
        waiting.into_iter().map(length).collect()
    }

    #[test]
    fn joined_datagrams_are_cut_where_they_were_joined() {
        assert_eq!(lengths(300, 100, false), [Some(100), Some(100), Some(100)]);
        assert_eq!(lengths(250, 100, false), [Some(100), Some(100), Some(50)]);
        assert_eq!(lengths(100, 100, false), [Some(100)]);
        assert_eq!(lengths(100, 0, false), [Some(100)]);
    }

    #[test]
    fn an_empty_datagram_is_one() {
        assert_eq!(lengths(0, 0, false), [Some(0)]);
    }

    #[test]
    fn what_is_too_long_is_an_error_of_its_own() {
        assert_eq!(lengths(2048, 0, true), [None]);
        assert_eq!(lengths(6000, 3000, false), [None, None]);
    }
}
