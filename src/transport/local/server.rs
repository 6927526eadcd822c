//! [`LocalServer`]: the transport that accepts.

use std::fmt;
use std::sync::Arc;

use super::accepted::Accepted;
use super::address::LocalAddress;
use super::backlog::Backlog;
use super::registry::Claim;
use crate::buffer::Message;
use crate::channel::{
    Address, Flush, Io, Metadata, OptionId, OptionValue, OutboundBuffer, Progress, Read, Transport,
};
use crate::error::{Error, ErrorKind};
use crate::transport::socket::options::no_such_option;

/// Clients that may wait to be accepted. What Linux has in `net.core.somaxconn` since 5.4.
const BACKLOG_DEFAULT: i32 = 4096;

/// A server inside this process. Binding takes its name, and closing gives it back before the close future is done.
/// It knows the option `SO_BACKLOG`, and no `SO_REUSEPORT`: a name has one holder, so there are no shards.
pub struct LocalServer {
    bound: Option<Bound>,
    backlog: i32,
}

/// Dropped in this order: the name is free before the clients hear that the server is gone.
struct Bound {
    claim: Claim,
    open: Open,
}

/// Closes the backlog in the end.
struct Open(Arc<Backlog>);

impl LocalServer {
    pub(super) fn unbound() -> Self {
        Self {
            bound: None,
            backlog: BACKLOG_DEFAULT,
        }
    }

    fn limit(&self) -> usize {
        usize::try_from(self.backlog).unwrap_or(0)
    }
}

impl Bound {
    fn name(&self) -> &LocalAddress {
        self.claim.name()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Transport for LocalServer {
    fn metadata(&self) -> Metadata {
        Metadata {
            name: "local server",
            has_disconnect: false,
            max_messages_per_read: 16,
            is_server: true,
        }
    }

    fn is_active(&self) -> bool {
        self.bound.is_some()
    }

    fn starts_readable(&mut self) -> bool {
        self.bound
            .as_ref()
            .is_some_and(|bound| bound.open.0.has_clients())
    }

    fn bind(&mut self, io: &mut Io<'_>, local: &Address) -> Result<(), Error> {
        if let Some(bound) = &self.bound {
            let text = format!(
                "binding to {local}: this server is bound to {} already",
                bound.name()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let name = LocalAddress::of(local, "bind to")?;
        let backlog = Arc::new(Backlog::new(name.clone(), self.limit(), io.signal()));
        let claim = Claim::new(&name, Some(backlog.clone()))?;
        self.bound = Some(Bound {
            claim,
            open: Open(backlog),
        });
        Ok(())
    }

    fn accepts(&self, _msg: &Message) -> bool {
        false
    }

    fn read(&mut self, io: &mut Io<'_>) -> Result<Read, Error> {
        let accepted = self.bound.as_ref().and_then(|bound| bound.open.0.accept());
        Ok(match accepted {
            Some(end) => {
                io.metrics().accept.accepted.add(1);
                Read::Message(Message::new(Accepted::new(end)))
            }
            None => Read::WouldBlock,
        })
    }

    /// Nothing is ever buffered: see `accepts`.
    fn flush(&mut self, _io: &mut Io<'_>, _out: &mut OutboundBuffer) -> Result<Flush, Error> {
        Ok(Flush::Drained)
    }

    fn close(&mut self, _io: &mut Io<'_>) -> Result<Progress, Error> {
        drop(self.bound.take());
        Ok(Progress::Done)
    }

    fn set_option(&mut self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        match (id, value) {
            (OptionId::SoBacklog, OptionValue::Int(backlog)) => {
                self.backlog = *backlog;
                if let Some(bound) = &self.bound {
                    bound.open.0.set_limit(self.limit());
                }
                Ok(())
            }
            _ => Err(no_such_option("local server", id)),
        }
    }

    fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        match id {
            OptionId::SoBacklog => Ok(OptionValue::Int(self.backlog)),
            _ => Err(no_such_option("local server", id)),
        }
    }

    fn local_address(&self) -> Option<Address> {
        self.bound.as_ref().map(|bound| bound.name().into())
    }
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalServer")
            .field("bound", &self.bound.as_ref().map(Bound::name))
            .field("backlog", &self.backlog)
            .finish()
    }
}
