//! Who may connect.
//!
//! Both handlers decide once, as soon as the peer's address is known: in `channel_registered` for accepted connections, else
//! in `channel_active` (H55). Then they leave the
//! pipeline, unless a rejected peer is told a last word: then they stay until the end and drop what it sends. A peer without an IP address (a Unix socket, an embedded
//! channel) can be told apart by no rule.
//!
//! - `rules`: [`IpRules`], networks that are accepted or rejected, with counters; shared by many channels.
//! - `filter`: [`IpFilter`], which goes by them.
//! - `unique`: [`UniqueIp`], one connection per address.
//! - `gate`: what both have in common.

mod filter;
mod gate;
mod rules;
mod unique;

pub use filter::IpFilter;
pub use ipnet::IpNet;
pub use rules::{IpRule, IpRules, Verdict};
pub use unique::{UniqueIp, UniqueIps};
