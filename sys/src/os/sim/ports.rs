//! Addresses of the internet that have a meaning of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where ports are looked for that nobody asked for (ip_local_port_range of Linux ends before 61000).
pub(super) const PORTS: std::ops::Range<u16> = 32_768..61_000;

pub(super) fn unspecified(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    }
}

pub(super) fn localhost(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::LOCALHOST.into(),
        false => Ipv4Addr::LOCALHOST.into(),
    }
}
