//! [`Notification`]: what the kernel tells between messages (RFC 6458, 6.1), out of the bytes that it comes in.
//!
//! The layouts are those of <linux/sctp.h>. Fields are picked by their offsets, which are asserted against the structures
//! that libc has; those it lacks are written down here and asserted by their sums.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What an association has become (sac_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssociationState {
    /// It is there.
    Up,
    /// It has failed: its peer is silent, or has aborted it.
    Lost,
    /// The peer has begun anew.
    Restarted,
    /// It has ended in order.
    Ended,
    /// It could not begin.
    Refused,
    /// One that this does not know.
    Other(u16),
}

/// What has become of an address of the peer (spc_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// It can be reached again.
    Available,
    /// It can't be reached now.
    Unreachable,
    /// It does not belong to the association any more.
    Removed,
    /// It belongs to the association now.
    Added,
    /// It is where messages go.
    Primary,
    /// It is the peer's indeed.
    Confirmed,
    /// It may have failed.
    PotentiallyFailed,
    /// One that this does not know.
    Other(i32),
}

/// What the kernel tells between messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification {
    /// The association has come up, has ended or has failed.
    AssociationChange {
        /// What it has become.
        state: AssociationState,
        /// Why, as a cause code of RFC 9260, 3.3.10; 0 if nothing is wrong.
        error: u16,
        /// Streams toward the peer.
        streams_out: u16,
        /// Streams from the peer.
        streams_in: u16,
    },
    /// An address of the peer has come, gone, failed or recovered.
    AddressChange {
        /// The address, if it is one of the internet.
        address: Option<SocketAddr>,
        /// What has become of it.
        state: AddressState,
        /// Why.
        error: i32,
    },
    /// A message was not delivered.
    SendFailed {
        /// It was on its way; otherwise it was never sent.
        was_sent: bool,
        /// Why.
        error: u32,
        /// Its stream.
        stream: u16,
        /// Its payload protocol identifier.
        protocol: u32,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// The peer has reported an error.
    RemoteError {
        /// A cause code of RFC 9260, 3.3.10.
        cause: u16,
        /// The error as the peer sent it.
        data: Vec<u8>,
    },
    /// The peer sends nothing more.
    Shutdown,
    /// A message that was being delivered in parts will not be completed.
    PartialDelivery {
        /// Its stream, where the kernel tells.
        stream: u32,
    },
    /// The adaptation layer of the peer (RFC 5061).
    Adaptation {
        /// Its indication.
        indication: u32,
    },
    /// Nothing waits to be sent or acknowledged.
    SenderDry,
    /// One that this does not know.
    Other {
        /// sn_type.
        kind: u16,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// enum sctp_sn_type of <linux/sctp.h>: SCTP_SN_TYPE_BASE is 1 << 15, and is the event of data.
mod kind {
    const BASE: u16 = 1 << 15;
    pub(super) const ASSOC_CHANGE: u16 = BASE + 1;
    pub(super) const PEER_ADDR_CHANGE: u16 = BASE + 2;
    pub(super) const SEND_FAILED: u16 = BASE + 3;
    pub(super) const REMOTE_ERROR: u16 = BASE + 4;
    pub(super) const SHUTDOWN_EVENT: u16 = BASE + 5;
    pub(super) const PARTIAL_DELIVERY_EVENT: u16 = BASE + 6;
    pub(super) const ADAPTATION_INDICATION: u16 = BASE + 7;
    pub(super) const SENDER_DRY_EVENT: u16 = BASE + 9;
}

/// sn_type, sn_flags, sn_length.
const HEADER: usize = 8;

/// struct sockaddr_storage.
const STORAGE: usize = 128;

/// struct sctp_sndrcvinfo.
const SNDRCVINFO: usize = 32;

/// Where the bytes of a message that failed begin: behind ssf_error, ssf_info and ssf_assoc_id.
const SEND_FAILED_DATA: usize = HEADER + 4 + SNDRCVINFO + 4;

/// Where the data of a remote error begins: behind sre_error, two bytes of padding and sre_assoc_id.
const REMOTE_ERROR_DATA: usize = HEADER + 4 + 4;

#[cfg(target_os = "linux")]
const _: () = {
    use memoffset::offset_of;

    assert!(size_of::<libc::sockaddr_storage>() == STORAGE);
    assert!(size_of::<libc::sctp_sndrcvinfo>() == SNDRCVINFO);
    assert!(offset_of!(libc::sctp_sndrcvinfo, sinfo_stream) == 0);
    assert!(offset_of!(libc::sctp_sndrcvinfo, sinfo_ppid) == 8);
};

impl Notification {
    /// Out of the bytes of one whole notification; `None` if they are too short for what they claim to be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let fields = Fields(bytes);
        // sn_length, which the kernel rounds up for some.
        let length = usize::try_from(fields.u32(4)?).ok()?;
        let tail = |from: usize| Some(bytes.get(from..length.min(bytes.len()).max(from))?.to_vec());
        Some(match fields.u16(0)? {
            kind::ASSOC_CHANGE => Self::AssociationChange {
                state: match fields.u16(8)? {
                    0 => AssociationState::Up,
                    1 => AssociationState::Lost,
                    2 => AssociationState::Restarted,
                    3 => AssociationState::Ended,
                    4 => AssociationState::Refused,
                    other => AssociationState::Other(other),
                },
                error: fields.u16(10)?,
                streams_out: fields.u16(12)?,
                streams_in: fields.u16(14)?,
            },
            kind::PEER_ADDR_CHANGE => Self::AddressChange {
                address: fields.address(HEADER),
                state: match fields.i32(HEADER + STORAGE)? {
                    0 => AddressState::Available,
                    1 => AddressState::Unreachable,
                    2 => AddressState::Removed,
                    3 => AddressState::Added,
                    4 => AddressState::Primary,
                    5 => AddressState::Confirmed,
                    6 => AddressState::PotentiallyFailed,
                    other => AddressState::Other(other),
                },
                error: fields.i32(HEADER + STORAGE + 4)?,
            },
            kind::SEND_FAILED => Self::SendFailed {
                // ssf_flags: SCTP_DATA_SENT.
                was_sent: fields.u16(2)? == 1,
                error: fields.u32(8)?,
                stream: fields.u16(12)?,
                protocol: u32::from_be(fields.u32(20)?),
                payload: tail(SEND_FAILED_DATA)?,
            },
            kind::REMOTE_ERROR => Self::RemoteError {
                // The one field that comes as it was on the network.
                cause: u16::from_be(fields.u16(8)?),
                data: tail(REMOTE_ERROR_DATA)?,
            },
            kind::SHUTDOWN_EVENT => Self::Shutdown,
            kind::PARTIAL_DELIVERY_EVENT => Self::PartialDelivery {
                // Linux has it since 4.17.
                stream: fields.u32(16).unwrap_or(0),
            },
            kind::ADAPTATION_INDICATION => Self::Adaptation {
                indication: fields.u32(8)?,
            },
            kind::SENDER_DRY_EVENT => Self::SenderDry,
            kind => Self::Other {
                kind,
                bytes: bytes.to_vec(),
            },
        })
    }
}

/// Bytes in the order of this machine.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn at<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.at(at).map(u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.at(at).map(u32::from_ne_bytes)
    }

    fn i32(&self, at: usize) -> Option<i32> {
        self.at(at).map(i32::from_ne_bytes)
    }

    /// A socket address: family, port and address as in the kernel's structures.
    fn address(&self, at: usize) -> Option<SocketAddr> {
        let port = u16::from_be(self.u16(at + 2)?);
        match i32::from(self.u16(at)?) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(self.at::<4>(at + 4)?);
                Some(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 => {
                let flow = u32::from_be(self.u32(at + 4)?);
                let ip = Ipv6Addr::from(self.at::<16>(at + 8)?);
                Some(SocketAddrV6::new(ip, port, flow, self.u32(at + 24)?).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A notification of this kind, with its length in the header.
    fn built(kind: u16, flags: u16, rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
        let length: usize = rest.iter().map(|part| part.len()).sum::<usize>() + HEADER;
        bytes.extend(u32::try_from(length).unwrap().to_ne_bytes());
        bytes.extend(rest.concat());
        bytes
    }

    fn halves(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|each| each.to_ne_bytes()).collect()
    }

    fn samples() -> Vec<(Vec<u8>, Notification)> {
        let id = 7_i32.to_ne_bytes();
        let mut storage = [0; STORAGE];
        storage[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        storage[2..8].copy_from_slice(&[0x1f, 0x90, 192, 0, 2, 1]);
        let mut info = [0; SNDRCVINFO];
        info[..2].copy_from_slice(&5_u16.to_ne_bytes());
        info[8..12].copy_from_slice(&46_u32.to_be_bytes());
        vec![
            (
                built(kind::ASSOC_CHANGE, 0, &[&halves(&[0, 0, 10, 20]), &id]),
                Notification::AssociationChange {
                    state: AssociationState::Up,
                    error: 0,
                    streams_out: 10,
                    streams_in: 20,
                },
            ),
            (
                built(
                    kind::PEER_ADDR_CHANGE,
                    0,
                    &[&storage, &1_i32.to_ne_bytes(), &110_i32.to_ne_bytes(), &id],
                ),
                Notification::AddressChange {
                    address: Some("192.0.2.1:8080".parse().unwrap()),
                    state: AddressState::Unreachable,
                    error: 110,
                },
            ),
            (
                built(
                    kind::SEND_FAILED,
                    1,
                    &[&9_u32.to_ne_bytes(), &info, &id, b"lost"],
                ),
                Notification::SendFailed {
                    was_sent: true,
                    error: 9,
                    stream: 5,
                    protocol: 46,
                    payload: b"lost".to_vec(),
                },
            ),
            (
                built(
                    kind::REMOTE_ERROR,
                    0,
                    &[&9_u16.to_be_bytes(), &[0, 0], &id, b"why"],
                ),
                Notification::RemoteError {
                    cause: 9,
                    data: b"why".to_vec(),
                },
            ),
            (
                built(kind::SHUTDOWN_EVENT, 0, &[&id]),
                Notification::Shutdown,
            ),
            (
                built(
                    kind::PARTIAL_DELIVERY_EVENT,
                    0,
                    &[&[0; 4], &id, &3_u32.to_ne_bytes(), &[0; 4]],
                ),
                Notification::PartialDelivery { stream: 3 },
            ),
            (
                built(kind::ADAPTATION_INDICATION, 0, &[&6_u32.to_ne_bytes(), &id]),
                Notification::Adaptation { indication: 6 },
            ),
            (
                built(kind::SENDER_DRY_EVENT, 0, &[&id]),
                Notification::SenderDry,
            ),
        ]
    }

    #[test]
    fn each_kind_is_read_field_by_field() {
        for (bytes, expected) in samples() {
            assert_eq!(Notification::parse(&bytes), Some(expected));
        }
    }

    /// Cut anywhere, or with a length that lies, a notification is one or none, and nothing worse.
    #[test]
    fn what_is_cut_is_none_and_never_a_panic() {
        for (bytes, _) in samples() {
            for end in 0..bytes.len() {
                let _ = Notification::parse(&bytes[..end]);
            }
            assert_eq!(Notification::parse(&bytes[..7]), None);
            for length in [0_u32, 1, 9, u32::MAX] {
                let mut lying = bytes.clone();
                lying[4..8].copy_from_slice(&length.to_ne_bytes());
                let _ = Notification::parse(&lying);
            }
        }
    }

    /// Bytes from splitmix64, over the samples: whatever comes out, nothing panics.
    #[test]
    fn random_damage_is_never_a_panic() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 32) as usize % below
        };
        let samples = samples();
        for _ in 0..100_000 {
            let mut bytes = samples[random(samples.len())].0.clone();
            for _ in 0..random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            bytes.truncate(random(bytes.len() + 1));
            let _ = Notification::parse(&bytes);
        }
    }

    #[test]
    fn a_kind_from_the_future_is_handed_out_as_it_is() {
        let bytes = built(0x80ff, 0, &[b"abcd"]);
        let expected = Notification::Other {
            kind: 0x80ff,
            bytes: bytes.clone(),
        };
        assert_eq!(Notification::parse(&bytes), Some(expected));
    }
}
