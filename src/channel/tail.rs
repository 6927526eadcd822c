//! A different end of a pipeline than the default: an embedded channel collects what no handler kept.

use super::slow::Inbound;
use crate::buffer::Message;
use crate::error::Failure;

/// What happens to events that no handler kept.
pub(crate) trait Tail {
    fn message(&self, msg: Message);
    fn user_event(&self, event: Message);
    fn exception(&self, cause: Failure);
    fn plain(&self, kind: Inbound);
}
