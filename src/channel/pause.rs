//! Acceptors that ran out of descriptors, waiting for one to be closed.
//!
//! Descriptors belong to the process, so the list does too. While nobody waits, closing a descriptor costs one relaxed
//! load here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::signal::Signal;

static WAITING: AtomicUsize = AtomicUsize::new(0);
static LIST: Mutex<Vec<Signal>> = Mutex::new(Vec::new());

/// Remembers an acceptor until the next descriptor is closed.
pub(crate) fn wait_for_descriptor(acceptor: Signal) {
    let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    list.push(acceptor);
    WAITING.store(list.len(), Ordering::Release);
}

/// A descriptor of ours was closed: whoever waits tries again.
pub(crate) fn descriptor_closed() {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return;
    }
    let waiting = {
        let mut list = LIST.lock().unwrap_or_else(PoisonError::into_inner);
        WAITING.store(0, Ordering::Release);
        std::mem::take(&mut *list)
    };
    for acceptor in waiting {
        acceptor.readable();
    }
}
