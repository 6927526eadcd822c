//! One bit per callback. A node's mask says which events stop at its handler; the walk skips the rest.
//!
//! Masks are learned: a node starts with every bit set, and the default body of a callback clears its own
//! bit (`Context::learn_skip`), so from then on the event passes the handler without a call.

/// A set of callbacks, one bit each.
pub(crate) type Mask = u16;

pub(crate) const REGISTERED: Mask = 1 << 0;
pub(crate) const UNREGISTERED: Mask = 1 << 1;
pub(crate) const ACTIVE: Mask = 1 << 2;
pub(crate) const INACTIVE: Mask = 1 << 3;
pub(crate) const READ: Mask = 1 << 4;
pub(crate) const READ_COMPLETE: Mask = 1 << 5;
pub(crate) const USER_EVENT: Mask = 1 << 6;
pub(crate) const WRITABILITY: Mask = 1 << 7;
pub(crate) const EXCEPTION: Mask = 1 << 8;

pub(crate) const BIND: Mask = 1 << 9;
pub(crate) const CONNECT: Mask = 1 << 10;
pub(crate) const DISCONNECT: Mask = 1 << 11;
pub(crate) const CLOSE: Mask = 1 << 12;
pub(crate) const READ_OP: Mask = 1 << 13;
pub(crate) const WRITE: Mask = 1 << 14;
pub(crate) const FLUSH: Mask = 1 << 15;

/// Every event that travels from the head to the tail.
pub(crate) const INBOUND: Mask = 0x01FF;
/// Every operation that travels from the tail to the head.
pub(crate) const OUTBOUND: Mask = 0x7F << 9;
/// What a fresh node starts with.
pub(crate) const ALL: Mask = INBOUND | OUTBOUND;

/// The callbacks by their bits, the lowest first.
const NAMES: [(Mask, &str); 16] = [
    (REGISTERED, "channel_registered"),
    (UNREGISTERED, "channel_unregistered"),
    (ACTIVE, "channel_active"),
    (INACTIVE, "channel_inactive"),
    (READ, "channel_read"),
    (READ_COMPLETE, "channel_read_complete"),
    (USER_EVENT, "user_event_triggered"),
    (WRITABILITY, "channel_writability_changed"),
    (EXCEPTION, "exception_caught"),
    (BIND, "bind"),
    (CONNECT, "connect"),
    (DISCONNECT, "disconnect"),
    (CLOSE, "close"),
    (READ_OP, "read"),
    (WRITE, "write"),
    (FLUSH, "flush"),
];

/// Names of the callbacks whose bits are set, for errors and debug output.
pub(crate) fn names(mask: Mask) -> Vec<&'static str> {
    NAMES
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// The name of the lowest callback of a mask; empty if there is none.
pub(crate) fn name(mask: Mask) -> &'static str {
    NAMES
        .get(mask.trailing_zeros() as usize)
        .map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callback_is_found_by_its_bit() {
        for (bit, word) in NAMES {
            assert_eq!((name(bit), names(bit)), (word, vec![word]));
        }
        assert_eq!(name(0), "");
    }
}
