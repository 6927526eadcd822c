//! Several addresses in a row, each as long as its family is: what bindx and connectx take, and the kernel's lists of the
//! addresses of an association give.

use std::io;
use std::net::SocketAddr;

use crate::os::net::addr::{Form, RawAddr};

/// The addresses in a row.
pub(super) fn pack(addresses: &[SocketAddr]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(addresses.len() * size_of::<libc::sockaddr_in6>());
    for address in addresses {
        let raw = RawAddr::of(address);
        // SAFETY: a raw address is valid for reads of the length that it states, and this one lives to the end of the
        // block.
        let bytes =
            unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<u8>(), raw.len() as usize) };
        packed.extend_from_slice(bytes);
    }
    packed
}

/// The first `count` addresses of a row.
///
/// # Errors
/// `InvalidData` for one that is not of the internet, and for a row that is too short.
pub(super) fn unpack(mut packed: &[u8], count: usize) -> io::Result<Vec<SocketAddr>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a broken list of addresses");
    let mut addresses = Vec::new();
    for _ in 0..count {
        let family: [u8; 2] = packed
            .get(..2)
            .and_then(|two| two.try_into().ok())
            .ok_or_else(broken)?;
        let size = match i32::from(u16::from_ne_bytes(family)) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
            _ => return Err(broken()),
        };
        let (one, rest) = packed.split_at_checked(size).ok_or_else(broken)?;
        let mut raw = RawAddr::room();
        // SAFETY: the room is as long as the longest address, and `one` is not longer.
        unsafe { std::ptr::copy_nonoverlapping(one.as_ptr(), raw.as_mut_ptr().cast(), size) };
        addresses.push(raw.decode(size as libc::socklen_t)?);
        packed = rest;
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_come_back_from_their_row() {
        let addresses: Vec<SocketAddr> = ["192.0.2.1:7", "[2001:db8::1]:8", "198.51.100.2:9"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let packed = pack(&addresses);
        assert_eq!(packed.len(), 16 + 28 + 16);
        assert_eq!(unpack(&packed, 3).unwrap(), addresses);
        assert_eq!(unpack(&packed, 1).unwrap(), addresses[..1]);
        assert_eq!(pack(&[]), []);
    }

    #[test]
    fn a_row_that_is_cut_or_foreign_is_an_error() {
        let packed = pack(&["[2001:db8::1]:8".parse().unwrap()]);
        for end in 0..packed.len() {
            assert!(unpack(&packed[..end], 1).is_err());
        }
        assert!(unpack(&[0xff; 64], 1).is_err());
    }
}
