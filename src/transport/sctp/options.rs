//! The options that only SCTP has.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use tidegate_sys::os::net::{
    self, IntOption,
    sctp::{self, Init, Subscription},
};

use crate::channel::{ChannelOption, OptionId, OptionType, OptionValue};
use crate::error::{Error, ErrorKind};

/// Send small messages at once instead of waiting for more to send with them.
///
/// Default true for the channels of this crate; the kernel's is false. Source: RFC 6458, 8.1.5.
pub const SCTP_NODELAY: ChannelOption<bool> = ChannelOption::named("SCTP_NODELAY");

/// Refuse messages that do not fit one packet.
///
/// Default false. Source: RFC 6458, 8.1.11.
pub const SCTP_DISABLE_FRAGMENTS: ChannelOption<bool> =
    ChannelOption::named("SCTP_DISABLE_FRAGMENTS");

/// How many streams an association has, and how often and how long it is tried to begin one. On a server it counts for
/// its children.
///
/// Default the kernel's. Source: RFC 6458, 8.1.3.
pub const SCTP_INITMSG: ChannelOption<Init> = ChannelOption::named("SCTP_INITMSG");

/// Which notifications come as user events.
///
/// Default all but partial delivery, adaptation and sender dry. Source: RFC 6458, 6.2.1.
pub const SCTP_EVENTS: ChannelOption<Subscription> = ChannelOption::named("SCTP_EVENTS");

/// Gives a bound channel further local addresses; their port is 0 or its own. Can't be set before there is a first one,
/// nor read.
///
/// Source: RFC 6458, 9.1 (sctp_bindx).
pub const SCTP_BINDX_ADD: ChannelOption<Vec<SocketAddr>> = ChannelOption::named("SCTP_BINDX_ADD");

/// Takes local addresses from a bound channel, which keeps at least one. Can't be read.
///
/// Source: RFC 6458, 9.1 (sctp_bindx).
pub const SCTP_BINDX_REM: ChannelOption<Vec<SocketAddr>> = ChannelOption::named("SCTP_BINDX_REM");

/// Further addresses of the peer, tried beside the one that is connected to.
///
/// Default none. Source: RFC 6458, 9.9 (sctp_connectx).
pub const SCTP_CONNECTX: ChannelOption<Vec<SocketAddr>> = ChannelOption::named("SCTP_CONNECTX");

/// All local addresses. Can't be set.
///
/// Source: RFC 6458, 9.5 (sctp_getladdrs).
pub const SCTP_LOCAL_ADDRS: ChannelOption<Vec<SocketAddr>> =
    ChannelOption::named("SCTP_LOCAL_ADDRS");

/// All addresses of the peer. Can't be set.
///
/// Source: RFC 6458, 9.3 (sctp_getpaddrs).
pub const SCTP_PEER_ADDRS: ChannelOption<Vec<SocketAddr>> = ChannelOption::named("SCTP_PEER_ADDRS");

/// The most bytes of a message that is received. A longer one is an error, which closes the channel.
///
/// Default 1 MiB. Source: this crate.
pub const SCTP_MESSAGE_MAX: ChannelOption<usize> = ChannelOption::named("SCTP_MESSAGE_MAX");

impl OptionType for Init {}
impl OptionType for Subscription {}
impl OptionType for Vec<SocketAddr> {}
impl OptionType for usize {}

/// Whether sockets of SCTP have it and others do not.
pub(super) fn is_own(id: OptionId) -> bool {
    [
        SCTP_NODELAY.id(),
        SCTP_DISABLE_FRAGMENTS.id(),
        SCTP_INITMSG.id(),
        SCTP_EVENTS.id(),
        SCTP_BINDX_ADD.id(),
        SCTP_BINDX_REM.id(),
        SCTP_LOCAL_ADDRS.id(),
        SCTP_PEER_ADDRS.id(),
    ]
    .contains(&id)
}

/// Sets one of them.
pub(super) fn set(socket: BorrowedFd<'_>, id: OptionId, value: &OptionValue) -> Result<(), Error> {
    let done = if let Some(option) = int_option(id) {
        value_of(SCTP_NODELAY, id, value).map(|on| net::set_int(socket, option, i32::from(on)))
    } else if id == SCTP_INITMSG.id() {
        value_of(SCTP_INITMSG, id, value).map(|init| sctp::set_init(socket, init))
    } else if id == SCTP_EVENTS.id() {
        value_of(SCTP_EVENTS, id, value).map(|wanted| sctp::subscribe(socket, wanted))
    } else if id == SCTP_BINDX_ADD.id() {
        let is_bound = net::local_addr::<SocketAddr>(socket).is_ok_and(|local| local.port() != 0);
        if !is_bound {
            let text = "SCTP_BINDX_ADD: the channel has no address yet to which others could be added; bind it first";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        value_of(SCTP_BINDX_ADD, id, value).map(|more| sctp::bind_more(socket, &more))
    } else if id == SCTP_BINDX_REM.id() {
        value_of(SCTP_BINDX_REM, id, value).map(|less| sctp::unbind(socket, &less))
    } else {
        let text = format!("option {id} can only be read");
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    done?.map_err(|error| Error::io(format!("setting option {id}"), error))
}

/// Reads one of them.
pub(super) fn get(socket: BorrowedFd<'_>, id: OptionId) -> Result<OptionValue, Error> {
    let read: io::Result<OptionValue> = if let Some(option) = int_option(id) {
        net::get_int(socket, option).map(|number| OptionValue::Bool(number != 0))
    } else if id == SCTP_INITMSG.id() {
        sctp::init(socket).map(OptionType::into_value)
    } else if id == SCTP_EVENTS.id() {
        sctp::subscription(socket).map(OptionType::into_value)
    } else if id == SCTP_LOCAL_ADDRS.id() {
        sctp::local_addrs(socket).map(OptionType::into_value)
    } else if id == SCTP_PEER_ADDRS.id() {
        sctp::peer_addrs(socket).map(OptionType::into_value)
    } else {
        let text = format!("option {id} can only be set");
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    read.map_err(|error| Error::io(format!("reading option {id}"), error))
}

/// The value of an option of a type of its own; whoever goes around the types by its name may give another one.
pub(super) fn value_of<T: OptionType>(
    option: ChannelOption<T>,
    id: OptionId,
    value: &OptionValue,
) -> Result<T, Error> {
    option.restore(value).ok_or_else(|| {
        let text = format!("option {id}: {value:?} is of another type");
        Error::new(ErrorKind::InvalidArgument, text)
    })
}

fn int_option(id: OptionId) -> Option<IntOption> {
    if id == SCTP_NODELAY.id() {
        Some(net::SCTP_NODELAY)
    } else if id == SCTP_DISABLE_FRAGMENTS.id() {
        Some(net::SCTP_DISABLE_FRAGMENTS)
    } else {
        None
    }
}
