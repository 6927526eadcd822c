//! [`LocalAddress`]: the name of a server, or of one side of a connection, inside this process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::channel::{self, Address, IntoAddress};
use crate::error::{Error, ErrorKind};

/// A name that means something inside this process only. Any text will do.
///
/// Bootstraps of local channels take a `&str` as well. As an [`Address`], though, text like `"cache:80"` is read as a host
/// and a port; a `LocalAddress` is a name whatever it looks like.
///
/// ```
/// use tidegate::transport::local::LocalAddress;
///
/// assert_eq!(LocalAddress::new("cache:80").to_string(), "cache:80");
/// assert_ne!(LocalAddress::unique(), LocalAddress::unique());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddress(Arc<str>);

impl LocalAddress {
    /// The address with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// An address that nobody was given before, as port 0 is with sockets. Clients that do not bind get one.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::new(format!("local#{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name in an address, for doing what `verb` says.
    pub(super) fn of(address: &Address, verb: &str) -> Result<Self, Error> {
        match address {
            Address::Name(name) => Ok(Self(name.clone())),
            other => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("a local channel can't {verb} {other}: give it a LocalAddress"),
            )),
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for LocalAddress {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<LocalAddress> for Address {
    fn from(address: LocalAddress) -> Self {
        Self::Name(address.0)
    }
}

impl From<&LocalAddress> for Address {
    fn from(address: &LocalAddress) -> Self {
        address.clone().into()
    }
}

impl IntoAddress<channel::Local> for LocalAddress {
    fn into_address(self) -> Address {
        self.into()
    }
}

impl IntoAddress<channel::Local> for &LocalAddress {
    fn into_address(self) -> Address {
        self.into()
    }
}
