//! The PROXY protocol, versions 1 and 2: how a load balancer tells a server who the client is, before its first byte.
//!
//! After HAProxy's `doc/proxy-protocol.txt` (2.2 is version 1, 2.3 version 2). Our own and not a crate's: those that exist
//! look at one whole slice, while this has to tell a wrong first byte from a header of which half has come.
//!
//! - `header`: what a header says, [`ProxyHeader`], and its extensions, [`Tlv`].
//! - `v1`: the line of text, both ways. `v2`: the binary form, both ways.
//! - `codec`: [`ProxyDecoder`] and [`ProxyEncoder`].
//! - `crc32c`: the checksum of version 2.

mod codec;
mod crc32c;
mod header;
mod v1;
mod v2;

pub use codec::{ProxyDecoder, ProxyEncoder};
pub use header::{ProxyAddress, ProxyHeader, ProxySsl, ProxyTransport, ProxyVersion, Tlv};
