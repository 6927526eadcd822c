//! Which addresses fit which transport: bootstraps take an [`IntoAddress`] of the family of their transport, so that a wrong
//! pairing does not compile.
//!
//! An [`Address`] itself fits everywhere: it comes from another channel, or from a program that does not know which family it
//! has. Transports look at it and refuse what is not theirs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::{Address, UnixAddress};

/// The internet: addresses with ports, and names with ports that a resolver looks up.
#[derive(Clone, Copy, Debug)]
pub enum Inet {}

/// The Unix domain: files, and the abstract names of Linux.
#[derive(Clone, Copy, Debug)]
pub enum Unix {}

/// Names that mean something inside this process only.
#[derive(Clone, Copy, Debug)]
pub enum Local {}

/// An address of the family `F`, or what reads as one.
///
/// A transport of one's own has one of the families of this module, or a type of its own for which it implements this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no address of the family `{F}`",
    label = "the transport takes addresses of the family `{F}`",
    note = "`Inet` is for TCP and UDP: a `SocketAddr`, `\"host:port\"` or `(host, port)`",
    note = "`Unix` is for Unix domain sockets: a `UnixAddress`, a path, or a text that is one",
    note = "`Local` is for channels inside this process: a `LocalAddress` or a text"
)]
pub trait IntoAddress<F> {
    /// The address.
    fn into_address(self) -> Address;
}

impl<F> IntoAddress<F> for Address {
    fn into_address(self) -> Address {
        self
    }
}

// Written out: what the compiler says of a wrong pairing would show a macro instead.

impl IntoAddress<Inet> for SocketAddr {
    fn into_address(self) -> Address {
        self.into()
    }
}

impl IntoAddress<Inet> for &str {
    fn into_address(self) -> Address {
        self.into()
    }
}

impl IntoAddress<Inet> for (&str, u16) {
    fn into_address(self) -> Address {
        self.into()
    }
}

impl IntoAddress<Unix> for UnixAddress {
    fn into_address(self) -> Address {
        self.into()
    }
}

impl IntoAddress<Unix> for &str {
    fn into_address(self) -> Address {
        UnixAddress::from(self).into()
    }
}

impl IntoAddress<Unix> for String {
    fn into_address(self) -> Address {
        UnixAddress::from(self).into()
    }
}

impl IntoAddress<Unix> for &Path {
    fn into_address(self) -> Address {
        UnixAddress::from(self).into()
    }
}

impl IntoAddress<Unix> for PathBuf {
    fn into_address(self) -> Address {
        UnixAddress::from(self).into()
    }
}

impl IntoAddress<Unix> for &PathBuf {
    fn into_address(self) -> Address {
        UnixAddress::from(self).into()
    }
}

/// A name whatever it looks like.
impl IntoAddress<Local> for &str {
    fn into_address(self) -> Address {
        Address::Name(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address<F>(address: impl IntoAddress<F>) -> Address {
        address.into_address()
    }

    #[test]
    fn the_family_decides_how_text_is_read() {
        assert_eq!(
            address::<Inet>("10.0.0.1:80").as_inet(),
            "10.0.0.1:80".parse().ok()
        );
        assert_eq!(
            address::<Unix>("10.0.0.1:80"),
            Address::Unix(UnixAddress::path("10.0.0.1:80"))
        );
        assert_eq!(
            address::<Unix>("@bus").as_unix(),
            Some(&UnixAddress::abstract_name("bus"))
        );
        assert_eq!(address::<Local>("bus:1"), Address::Name("bus:1".into()));
    }
}
