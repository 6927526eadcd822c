//! [`Accepted`]: what a local server reads.

use std::collections::VecDeque;
use std::fmt;

use super::address::LocalAddress;
use super::end::End;

/// A connection that has no channel yet. It goes through the server's pipeline and to the child's loop; dropped on the
/// way, it closes the connection.
pub struct Accepted {
    /// Taken by the child.
    end: Option<End>,
}

impl Accepted {
    pub(super) fn new(end: End) -> Self {
        Self { end: Some(end) }
    }

    /// The client's address: the one that it was bound to, or one of its own.
    pub fn peer(&self) -> Option<&LocalAddress> {
        self.end.as_ref().map(End::peer)
    }

    pub(super) fn into_end(mut self) -> Option<End> {
        self.end.take()
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if let Some(mut end) = self.end.take() {
            end.close(VecDeque::new(), false);
        }
    }
}
