//! Who is bound to which name. One table for the process, looked at by binds and connects only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::address::LocalAddress;
use super::backlog::Backlog;
use crate::error::{Error, ErrorKind};

/// `None`: a client, which nobody can connect to.
type Holder = Option<Arc<Backlog>>;

static NAMES: LazyLock<Mutex<HashMap<LocalAddress, Holder>>> = LazyLock::new(Mutex::default);

/// The right to a name, until it is dropped.
pub(super) struct Claim {
    name: LocalAddress,
}

impl Claim {
    /// Takes the name for a server with this backlog, or for a client.
    pub(super) fn new(name: &LocalAddress, holder: Holder) -> Result<Self, Error> {
        match names().entry(name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(holder);
                Ok(Self { name: name.clone() })
            }
            Entry::Occupied(_) => Err(Error::new(
                ErrorKind::AddrInUse,
                format!("binding to {name}: a local channel of this process is bound to it"),
            )),
        }
    }

    pub(super) fn name(&self) -> &LocalAddress {
        &self.name
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let holder = names().remove(&self.name);
        // Only now, and not under the lock.
        drop(holder);
    }
}

/// The server that is bound to this name.
pub(super) fn server_at(name: &LocalAddress) -> Option<Arc<Backlog>> {
    names().get(name).cloned().flatten()
}

fn names() -> MutexGuard<'static, HashMap<LocalAddress, Holder>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}
