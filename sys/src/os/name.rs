//! [`Name`]: an address of any family in one type. The addresses of `net` turn into it for the simulated kernel, which must
//! not know `net`.

use std::net::SocketAddr;

/// An address of any family, as the simulated kernel keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// An address of the internet.
    Inet(SocketAddr),
    /// The bytes of `sun_path` that count: none, a path, or a zero byte and an abstract name.
    Unix(Box<[u8]>),
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}
