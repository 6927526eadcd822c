//! What a promise asks of the event loop it belongs to.
//!
//! The traits are implemented higher up (by the loop and by channels); a promise knows no more of them
//! than this.

use std::sync::{Arc, LazyLock};

use tidegate_sys::mem::Task;

use crate::error::Error;

/// Where the listeners of a promise run.
pub trait ListenerHost: Send + Sync {
    /// Takes a listener that is due.
    ///
    /// Called on the thread that completed the promise, or that added a listener to a complete one,
    /// with no lock held. The host runs jobs in the order in which it got them, and not inside this
    /// call, with one exception: when its loop has ended, it runs them at once on the caller, because a
    /// listener must not be lost; those that become due inside many others when the first of these returns. A job that panics
    /// is the host's to catch.
    fn run_listener(&self, job: Task);

    /// True if blocking the calling thread would keep the promise from ever being completed: it is the
    /// loop's own thread, or the owner of a local loop that nobody else drives.
    fn would_deadlock(&self) -> bool;

    /// True if promises of this host are for operations of one channel only, so that another refuses them (B23).
    fn is_channel(&self) -> bool {
        false
    }

    /// What the host is called in texts of errors; empty if it has no name.
    fn name(&self) -> &str {
        ""
    }
}

/// Where a completion comes back by key, without an allocation.
pub trait KeyTarget: Send + Sync {
    /// The operation that was registered with `node` and `key` is done. Runs where the listeners of the
    /// promise run.
    fn key_done(self: Arc<Self>, node: u64, key: u64, result: Result<(), Error>);
}

/// The host for promises without an event loop: listeners run at once, on the thread that completes the
/// promise or adds the listener. Listeners of one promise still never nest, but those of a chain of promises do, as
/// deep as the chain is long.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnCaller;

impl OnCaller {
    /// The one shared host.
    pub fn host() -> Arc<dyn ListenerHost> {
        static HOST: LazyLock<Arc<OnCaller>> = LazyLock::new(|| Arc::new(OnCaller));
        HOST.clone()
    }
}

impl ListenerHost for OnCaller {
    fn run_listener(&self, job: Task) {
        job.run();
    }

    fn would_deadlock(&self) -> bool {
        false
    }
}
