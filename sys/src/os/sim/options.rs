//! [`Options`]: what is kept for sockets of every kind.

use std::collections::BTreeMap;

/// What every socket has that programs set and ask for.
#[derive(Clone, Default)]
pub(super) struct Options {
    /// By level and number, as the kernel keeps them.
    pub(super) set: BTreeMap<(i32, i32), i32>,
    /// SO_LINGER in seconds, if it is on.
    pub(super) linger: Option<i32>,
}
