//! What every thread may see of a channel. The handle ([`Channel`](super::Channel)) points here; the loop's side finds
//! its way back by a slot among the loop's attached channels.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Attributes;
use super::address::Address;
use super::lifetime::Life;
use crate::event_loop::EventLoop;
use crate::future::{Completion, Promise};

/// No slot yet, or no longer.
pub(crate) const DETACHED: u32 = u32::MAX;

/// A connection, a listening socket, a stream: the handle, cheap to clone and usable from any thread.
///
/// On the channel's own loop its operations run at once, from the pipeline's tail. From elsewhere they travel to the loop
/// as tasks, in the order in which one thread gave them, and wake it at most once per sleep.
#[derive(Clone)]
pub struct Channel {
    pub(crate) shared: Arc<Shared>,
}

/// A number that no other channel of the process has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(u64);

impl ChannelId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// See the module's page.
pub(crate) struct Shared {
    id: ChannelId,
    pub(crate) event_loop: EventLoop,
    parent: Option<Channel>,
    pub(crate) slot: AtomicU32,
    /// 0: writable. Bit 0: above the high watermark until below the low one. Bits 1 to 31: the user's.
    pub(crate) unwritable: AtomicU32,
    pub(crate) life: AtomicU8,
    auto_read: AtomicBool,
    /// Bytes in the outbound buffer, written by the loop alone.
    pub(crate) queued: AtomicUsize,
    /// Bytes of writes that other threads have submitted and that have not reached the pipeline (B24).
    pub(crate) submitted: AtomicUsize,
    /// low << 32 | high, in bytes.
    marks: AtomicU64,
    local: OnceLock<Address>,
    remote: OnceLock<Address>,
    attributes: Attributes,
    /// The close future, made when somebody asks for it.
    pub(crate) close: Mutex<Option<Box<CloseFuture>>>,
}

/// The close future, once somebody has asked for it.
pub(crate) struct CloseFuture {
    pub(crate) promise: Promise,
    pub(crate) completion: Completion,
}

impl Shared {
    pub(crate) fn new(
        event_loop: EventLoop,
        parent: Option<Channel>,
        attributes: Attributes,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: ChannelId::next(),
            event_loop,
            parent,
            slot: AtomicU32::new(DETACHED),
            unwritable: AtomicU32::new(0),
            life: AtomicU8::new(Life::Open as u8),
            auto_read: AtomicBool::new(true),
            queued: AtomicUsize::new(0),
            submitted: AtomicUsize::new(0),
            marks: AtomicU64::new((32 << 10 << 32) | (64 << 10)),
            local: OnceLock::new(),
            remote: OnceLock::new(),
            attributes,
            close: Mutex::new(None),
        })
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn event_loop(&self) -> &EventLoop {
        &self.event_loop
    }

    pub(crate) fn parent(&self) -> Option<&Channel> {
        self.parent.as_ref()
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    // ---- what the loop publishes

    pub(crate) fn publish_life(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    pub(crate) fn publish_auto_read(&self, on: bool) {
        self.auto_read.store(on, Ordering::Relaxed);
    }

    pub(crate) fn set_local_address(&self, address: Address) {
        let _ = self.local.set(address);
    }

    pub(crate) fn set_remote_address(&self, address: Address) {
        let _ = self.remote.set(address);
    }

    pub(crate) fn set_marks(&self, low: usize, high: usize) {
        let clamp = |bytes: usize| u64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.marks
            .store((clamp(low) << 32) | clamp(high), Ordering::Relaxed);
    }

    /// Completes the close future, if anybody asked for it; later ones are complete from the start.
    pub(crate) fn complete_close(&self) {
        let close = self
            .close
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(close) = close {
            close.promise.try_success();
        }
    }

    // ---- what everybody reads

    #[inline]
    pub(crate) fn high_mark(&self) -> usize {
        (self.marks.load(Ordering::Relaxed) & u64::from(u32::MAX)) as usize
    }

    #[inline]
    pub(crate) fn low_mark(&self) -> usize {
        (self.marks.load(Ordering::Relaxed) >> 32) as usize
    }

    /// Bytes that wait to be sent, submitted ones included.
    pub(crate) fn pending(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.submitted.load(Ordering::Relaxed)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.life.load(Ordering::Acquire) < Life::Closing as u8
    }

    pub(crate) fn is_active(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Active as u8
    }

    pub(crate) fn auto_read(&self) -> bool {
        self.auto_read.load(Ordering::Relaxed)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.slot.load(Ordering::Relaxed) != DETACHED
    }

    pub(crate) fn local_address(&self) -> Option<&Address> {
        self.local.get()
    }

    pub(crate) fn remote_address(&self) -> Option<&Address> {
        self.remote.get()
    }
}

/// The channel never came to its loop, or its loop ended with it: whoever waits for the end is told.
impl Drop for Shared {
    fn drop(&mut self) {
        self.complete_close();
    }
}
