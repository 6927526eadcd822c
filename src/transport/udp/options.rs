//! Multicast groups as options of a channel: set before binding in a bootstrap, or later with `channel.set_option`, whose
//! future tells the outcome.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{self, MembershipChange};

use crate::channel::{ChannelOption, OptionId, OptionType, OptionValue};
use crate::error::{Error, ErrorKind};

/// A multicast group, on one network interface, perhaps with one source.
///
/// ```
/// use tidegate::transport::udp::Membership;
///
/// let everybody = Membership::new([239, 1, 2, 3]);
/// let only_one = Membership::new([232, 1, 2, 3]).interface(2).source([192, 0, 2, 7]);
/// # assert_ne!(everybody, only_one);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership(net::Membership);

impl Membership {
    /// The group of this address, on an interface that the kernel chooses, for every source.
    pub fn new(group: impl Into<IpAddr>) -> Self {
        Self(net::Membership {
            group: group.into(),
            interface: 0,
            source: None,
        })
    }

    /// On the interface of this number; see [`interface_index`].
    #[must_use]
    pub fn interface(mut self, index: u32) -> Self {
        self.0.interface = index;
        self
    }

    /// About this source alone.
    #[must_use]
    pub fn source(mut self, source: impl Into<IpAddr>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl OptionType for Membership {}

/// The number of a network interface.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none of that name.
pub fn interface_index(name: &str) -> Result<u32, Error> {
    net::interface_index(name).map_err(|error| {
        Error::with_source(
            ErrorKind::NotFound,
            format!("no network interface is named {name:?}; `ip link` lists them"),
            error,
        )
    })
}

/// Joins a group: from now on the channel receives what is sent to it. With a source, only what that one sends.
///
/// Can't be read. Source: RFC 3678 (MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP), ip(7).
pub const IP_ADD_MEMBERSHIP: ChannelOption<Membership> = ChannelOption::named("IP_ADD_MEMBERSHIP");

/// Leaves a group that was joined in the same way.
///
/// Can't be read. Source: RFC 3678 (MCAST_LEAVE_GROUP, MCAST_LEAVE_SOURCE_GROUP), ip(7).
pub const IP_DROP_MEMBERSHIP: ChannelOption<Membership> =
    ChannelOption::named("IP_DROP_MEMBERSHIP");

/// Receives nothing more from one source of a group that was joined for every source.
///
/// Can't be read. Source: RFC 3678 (MCAST_BLOCK_SOURCE), ip(7).
pub const IP_BLOCK_SOURCE: ChannelOption<Membership> = ChannelOption::named("IP_BLOCK_SOURCE");

/// Receives again from a source that was blocked.
///
/// Can't be read. Source: RFC 3678 (MCAST_UNBLOCK_SOURCE), ip(7).
pub const IP_UNBLOCK_SOURCE: ChannelOption<Membership> = ChannelOption::named("IP_UNBLOCK_SOURCE");

/// What an option of this file asks for, if it is one.
pub(super) fn membership_change(id: OptionId) -> Option<MembershipChange> {
    Some(match id {
        id if id == IP_ADD_MEMBERSHIP.id() => MembershipChange::Join,
        id if id == IP_DROP_MEMBERSHIP.id() => MembershipChange::Leave,
        id if id == IP_BLOCK_SOURCE.id() => MembershipChange::Block,
        id if id == IP_UNBLOCK_SOURCE.id() => MembershipChange::Unblock,
        _ => return None,
    })
}

/// Makes the change that the option asks for.
pub(super) fn change_membership(
    socket: BorrowedFd<'_>,
    id: OptionId,
    change: MembershipChange,
    value: &OptionValue,
) -> Result<(), Error> {
    let Some(Membership(membership)) = Membership::from_value(value) else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("option {id}: {value:?} is not a Membership"),
        ));
    };
    membership.change(socket, change).map_err(|error| {
        let text = format!("option {id}: {membership:?}");
        match error.kind() {
            io::ErrorKind::InvalidInput => {
                Error::with_source(ErrorKind::InvalidArgument, text, error)
            }
            _ => Error::io(text, error),
        }
    })
}
