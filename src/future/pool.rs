//! [`PromisePool`]: promises used again, so that a write that wants to be told allocates nothing.
//!
//! Each event loop has one; it is not for sharing. A promise goes back when nobody else holds it or its
//! future, and otherwise is left to its holders.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::host::ListenerHost;
use super::inner::Inner;
use super::promise::Promise;

/// A free list of promises. `Send`, but not `Sync`: it belongs to one loop.
pub struct PromisePool {
    free: Vec<Arc<Inner<()>>>,
    /// `free.len() <= limit`
    limit: usize,
    not_sync: PhantomData<Cell<()>>,
}

impl PromisePool {
    /// Promises kept by [`PromisePool::default`]: a burst of writes within one turn, at about 200 bytes
    /// each.
    pub const LIMIT: usize = 256;

    /// An empty pool that keeps at most `limit` promises.
    pub const fn new(limit: usize) -> Self {
        Self {
            free: Vec::new(),
            limit,
            not_sync: PhantomData,
        }
    }

    /// A promise whose listeners run at `host`: an old one, else a new one.
    pub fn take(&mut self, host: &Arc<dyn ListenerHost>) -> Promise {
        while let Some(mut inner) = self.free.pop() {
            // What is in the list is held by the list alone.
            if let Some(free) = Arc::get_mut(&mut inner) {
                free.set_host(host.clone());
                return Promise(Some(inner));
            }
        }
        Promise::new(host.clone())
    }

    /// Takes a promise that the caller is done with; true if it will be used again. One that is not
    /// complete fails, as if dropped.
    pub fn give(&mut self, mut promise: Promise) -> bool {
        if !promise.is_done() || self.free.len() >= self.limit {
            return false;
        }
        let Some(mut inner) = promise.0.take() else {
            return false;
        };
        let Some(alone) = Arc::get_mut(&mut inner) else {
            return false;
        };
        alone.reset();
        self.free.push(inner);
        true
    }

    /// Promises that wait to be used again.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// True if no promise waits to be used again.
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Frees what waits to be used again.
    pub fn clear(&mut self) {
        self.free = Vec::new();
    }
}

impl Default for PromisePool {
    fn default() -> Self {
        Self::new(Self::LIMIT)
    }
}

impl fmt::Debug for PromisePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromisePool")
            .field("free", &self.free.len())
            .field("limit", &self.limit)
            .finish()
    }
}
