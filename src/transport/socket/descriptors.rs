//! [`Descriptors`]: what Unix sockets carry beside bytes.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec;

use bytes::{Buf, Bytes};
use tidegate_sys::os::net::unix::DESCRIPTORS_MAX;

use crate::buffer::Message;
use crate::error::{Error, ErrorKind};

/// Open files, sockets, anything with a descriptor, on their way from one process to another.
///
/// They travel beside bytes, at least one on a stream: with their own ([`with_bytes`](Self::with_bytes)), or else with the
/// message behind them, which has to be flushed together with them. So what was received can be written as it came.
///
/// A channel that receives some fires them as one message in front of the bytes, or the datagram, that they came with; on a
/// stream bytes from before may stand there, too, but never later ones alone. Whoever takes the message owns the
/// descriptors; dropped anywhere, it closes them.
///
/// Written, they are closed here once they have been sent; the other process has duplicates.
///
/// ```
/// use tidegate::Message;
/// use tidegate::transport::unix::Descriptors;
///
/// let file = std::fs::File::open("/dev/null")?;
/// let message = Message::from(Descriptors::from_iter([file]).with_bytes("here it is"));
/// # assert!(message.is::<Descriptors>());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Descriptors {
    descriptors: Vec<OwnedFd>,
    bytes: Bytes,
}

impl Descriptors {
    /// The same, with the bytes that they travel with.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// How many there are; at most [`DESCRIPTORS_MAX`] can be sent at once.
    pub fn len(&self) -> usize {
        self.descriptors.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.descriptors.is_empty()
    }

    /// The bytes that they are to travel with; none for those that were received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of them, to look at.
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd)
    }

    /// The descriptors as the system's calls take them.
    pub(crate) fn borrowed(&self) -> Result<Vec<BorrowedFd<'_>>, Error> {
        if self.len() > DESCRIPTORS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} descriptors are too many for one message: at most {DESCRIPTORS_MAX}",
                    self.len()
                ),
            ));
        }
        Ok(self.iter().collect())
    }

    /// The descriptors and `count` of their bytes are sent. Whether that was all.
    pub(crate) fn advance(&mut self, count: usize) -> bool {
        self.descriptors.clear();
        self.bytes.advance(count);
        self.bytes.is_empty()
    }
}

impl<T: Into<OwnedFd>> FromIterator<T> for Descriptors {
    fn from_iter<I: IntoIterator<Item = T>>(descriptors: I) -> Self {
        Self {
            descriptors: descriptors.into_iter().map(Into::into).collect(),
            bytes: Bytes::new(),
        }
    }
}

impl From<OwnedFd> for Descriptors {
    fn from(descriptor: OwnedFd) -> Self {
        Self::from_iter([descriptor])
    }
}

impl IntoIterator for Descriptors {
    type Item = OwnedFd;
    type IntoIter = vec::IntoIter<OwnedFd>;

    fn into_iter(self) -> Self::IntoIter {
        self.descriptors.into_iter()
    }
}

impl From<Descriptors> for Message {
    fn from(descriptors: Descriptors) -> Self {
        Self::new(descriptors)
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptors")
            .field("descriptors", &self.descriptors)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// What a handler is told when descriptors were sent that did not come.
#[cold]
pub(crate) fn lost(peer: &dyn fmt::Display) -> Error {
    Error::new(
        ErrorKind::Exhausted,
        format!(
            "descriptors from {peer} were lost: this process, or the system, has no room for more; raise RLIMIT_NOFILE"
        ),
    )
}
