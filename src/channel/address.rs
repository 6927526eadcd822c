//! Where a channel is bound or connected. One type for all transports, so that handlers can pass
//! `bind` and `connect` on without knowing the transport.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use tidegate_sys::os::net::unix::UnixAddress;

/// An address of some transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IPv4 or IPv6 address with a port.
    Inet(SocketAddr),
    /// A host name with a port that no resolver has looked up yet.
    Unresolved(Arc<str>, u16),
    /// A file, or a name of Linux's own (Unix domain sockets).
    Unix(UnixAddress),
    /// A name that means something inside this process only (streams of a multiplexer, embedded channels).
    Name(Arc<str>),
}

impl Address {
    /// An address that a resolver still has to look up.
    pub fn unresolved(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::Inet(SocketAddr::new(ip, port)),
            Err(_) => Self::Unresolved(Arc::from(host), port),
        }
    }

    /// The one that this thread was given last, if it is the same, for those that are kept once for each channel.
    pub(super) fn into_shared(self) -> Arc<Self> {
        thread_local! {
            static LAST: RefCell<Option<Arc<Address>>> = const { RefCell::new(None) };
        }
        let last = LAST.try_with(|last| last.borrow().clone()).ok().flatten();
        if let Some(last) = last.filter(|last| **last == self) {
            return last;
        }
        let shared = Arc::new(self);
        // A thread that ends keeps nothing.
        let _ = LAST.try_with(|last| last.replace(Some(Arc::clone(&shared))));
        shared
    }

    /// The socket address, if this is one.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            _ => None,
        }
    }

    /// The address of a Unix domain socket, if this is one.
    pub fn as_unix(&self) -> Option<&UnixAddress> {
        match self {
            Self::Unix(address) => Some(address),
            _ => None,
        }
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Self {
        Self::Unix(address)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// `"127.0.0.1:80"` and `"[::1]:80"` are socket addresses, `"host:80"` is unresolved, anything else is a name.
impl From<&str> for Address {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::Inet(address);
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Self::unresolved(host, port.parse().unwrap_or(0))
            }
            _ => Self::Name(Arc::from(text)),
        }
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        Self::unresolved(host, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unresolved(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_addresses_in_a_row_are_kept_once() {
        let first = Address::from("10.0.0.1:80").into_shared();
        assert!(Arc::ptr_eq(
            &first,
            &Address::from("10.0.0.1:80").into_shared()
        ));
        let other = Address::from("10.0.0.2:80").into_shared();
        assert_eq!(
            (first.to_string(), other.to_string()),
            ("10.0.0.1:80".into(), "10.0.0.2:80".into())
        );
    }

    #[test]
    fn text_becomes_the_address_it_reads_as() {
        assert_eq!(
            Address::from("127.0.0.1:80"),
            Address::Inet("127.0.0.1:80".parse().unwrap())
        );
        assert_eq!(
            Address::from("[::1]:80"),
            Address::Inet("[::1]:80".parse().unwrap())
        );
        assert_eq!(
            Address::from("localhost:80"),
            Address::Unresolved("localhost".into(), 80)
        );
        assert_eq!(Address::from("stream-7"), Address::Name("stream-7".into()));
        assert_eq!(
            Address::from(("10.0.0.1", 7)),
            Address::Inet("10.0.0.1:7".parse().unwrap())
        );
    }
}
