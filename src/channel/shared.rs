//! What every thread may see of a channel. The handle ([`Channel`](super::Channel)) points here; the loop's side finds
//! its way back by a slot among the loop's attached channels.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tidegate_sys::mem::Task;

use super::address::Address;
use super::core::{Core, Life};
use super::pipeline::nodes::NodeId;
use super::root::Root;
use super::{Attributes, Channel};
use crate::error::Error;
use crate::event_loop::{EventLoop, LoopCore, is_current};
use crate::future::{Completion, KeyTarget, ListenerHost, Promise};

/// No slot yet, or no longer.
const DETACHED: u32 = u32::MAX;

/// The bit of the watermark among the reasons to be unwritable; 1 to 31 are the user's.
pub(crate) const WATERMARK: u32 = 1;

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
    event_loop: EventLoop,
    parent: Option<Channel>,
    slot: AtomicU32,
    /// 0: writable. Bit 0: above the high watermark until below the low one. Bits 1 to 31: the user's.
    pub(crate) unwritable: AtomicU32,
    life: AtomicU8,
    auto_read: AtomicBool,
    /// Nothing can be written any more. The watermark's bit is set then, and stays.
    output_shut: AtomicBool,
    is_server: AtomicBool,
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
    close: Mutex<Option<Box<CloseFuture>>>,
}

struct CloseFuture {
    promise: Promise,
    completion: Completion,
}

/// The host of the close future: it must not keep the channel's shared part alive, which owns the future.
struct WeakHost {
    shared: Weak<Shared>,
    event_loop: EventLoop,
}

impl ListenerHost for WeakHost {
    fn run_listener(&self, job: Task) {
        match self.shared.upgrade() {
            Some(shared) => shared.run_listener(job),
            None => self.event_loop.host().run_listener(job),
        }
    }

    fn would_deadlock(&self) -> bool {
        self.event_loop.host().would_deadlock()
    }
}

impl Shared {
    pub(crate) fn new(event_loop: EventLoop, parent: Option<Channel>, attributes: Attributes) -> Arc<Self> {
        Arc::new(Self {
            id: ChannelId::next(),
            event_loop,
            parent,
            slot: AtomicU32::new(DETACHED),
            unwritable: AtomicU32::new(0),
            life: AtomicU8::new(Life::Open as u8),
            auto_read: AtomicBool::new(true),
            output_shut: AtomicBool::new(false),
            is_server: AtomicBool::new(false),
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

    // ---- finding the loop's side

    /// Makes `core` the loop's side of this channel.
    pub(crate) fn attach(&self, core: &Rc<Core>) {
        let slot = core.lp.attach(core.clone());
        self.is_server.store(core.metadata.is_server, Ordering::Relaxed);
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The channel has ended.
    pub(crate) fn detach(&self, lp: &Rc<LoopCore>) {
        let slot = self.slot.swap(DETACHED, Ordering::Relaxed);
        if slot != DETACHED {
            lp.detach(slot);
        }
    }

    /// The loop's side, if this is its loop's turn and the channel has not ended.
    #[inline]
    pub(crate) fn core(&self) -> Option<Rc<Core>> {
        let slot = self.slot.load(Ordering::Relaxed);
        if slot == DETACHED {
            return None;
        }
        LoopCore::with_if_current(self.event_loop.id(), |lp| lp.attached(slot))??
            .into_any()
            .downcast::<Core>()
            .ok()
    }

    pub(crate) fn in_event_loop(&self) -> bool {
        is_current(self.event_loop.id())
    }

    /// Runs `call` on the loop with the channel's core: at once if this is its turn, else as a task. False if the
    /// channel or its loop has ended; then `call` is dropped.
    pub(crate) fn on_loop(self: &Arc<Self>, call: impl FnOnce(&Core) + Send + 'static) -> bool {
        if self.in_event_loop() {
            return match self.core() {
                Some(core) => {
                    call(&core);
                    true
                }
                None => false,
            };
        }
        self.submit(call, true)
    }

    /// Runs `call` as a task of the loop. Not waking: it runs when the loop is awake for another reason.
    pub(crate) fn submit(self: &Arc<Self>, call: impl FnOnce(&Core) + Send + 'static, wake: bool) -> bool {
        let shared = self.clone();
        let task = move || {
            if let Some(core) = shared.core() {
                call(&core);
            }
        };
        let submitted =
            if wake { self.event_loop.execute(task) } else { self.event_loop.execute_lazy(task) };
        submitted.is_ok()
    }

    // ---- what the loop publishes

    pub(crate) fn publish_life(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    /// The output ended: never writable again, and nobody is told (A41).
    pub(crate) fn publish_output_shut(&self) {
        self.output_shut.store(true, Ordering::Relaxed);
        self.unwritable.fetch_or(WATERMARK, Ordering::AcqRel);
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
        self.marks.store((clamp(low) << 32) | clamp(high), Ordering::Relaxed);
    }

    /// Completes the close future, if anybody asked for it; later ones are complete from the start.
    pub(crate) fn complete_close(&self) {
        let close = self.close.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    /// Fewer waiting bytes than this end an unwritable time. With a low mark of zero it ends when nothing waits.
    pub(crate) fn writable_below(&self) -> usize {
        self.low_mark().max(1)
    }

    /// Bytes that wait to be sent, submitted ones included.
    pub(crate) fn pending(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.submitted.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        self.unwritable.load(Ordering::Relaxed) == 0 && self.is_open()
    }

    /// C6 and C23.
    pub(crate) fn bytes_before_unwritable(&self) -> usize {
        if !self.is_writable() {
            return 0;
        }
        (self.high_mark() + 1).saturating_sub(self.pending())
    }

    /// C6 and C23.
    pub(crate) fn bytes_before_writable(&self) -> usize {
        if !self.is_open() || self.output_shut.load(Ordering::Relaxed) {
            return usize::MAX;
        }
        if self.is_writable() {
            return 0;
        }
        (self.pending() + 1).saturating_sub(self.writable_below())
    }

    // ---- writes of other threads (B24)
    //
    // The watermark's bit is cleared by the loop alone. Every thread that sets it, or that takes back bytes on which
    // somebody else may have set it, has the loop look once more: so it never stays set over an empty buffer.

    /// Sets the watermark's bit; true if the pipeline has to be told.
    pub(crate) fn mark_unwritable(&self) -> bool {
        self.unwritable.fetch_or(WATERMARK, Ordering::AcqRel) == 0
    }

    /// Whether the watermark's bit is set, after bytes were taken back.
    pub(crate) fn is_above_mark(&self) -> bool {
        fence(Ordering::SeqCst);
        self.unwritable.load(Ordering::Relaxed) & WATERMARK != 0
    }

    /// Has the loop tell the pipeline, and see whether the bit is still right. Never refused.
    pub(crate) fn recheck_writability(self: &Arc<Self>) {
        let shared = self.clone();
        self.event_loop.host().run_listener(Task::new(move || {
            fence(Ordering::SeqCst);
            if let Some(core) = shared.core() {
                core.enter(Core::recheck_writability);
            }
        }));
    }

    pub(crate) fn is_server(&self) -> bool {
        self.is_server.load(Ordering::Relaxed)
    }

    pub(crate) fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            0 => Life::Open,
            1 => Life::Connecting,
            2 => Life::Active,
            3 => Life::Closing,
            _ => Life::Closed,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.life() < Life::Closing
    }

    pub(crate) fn is_active(&self) -> bool {
        self.life() == Life::Active
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

    pub(crate) fn close_future(self: &Arc<Self>) -> Completion {
        let mut close = self.close.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: complete_close comes either before, and life says so, or finds the future.
        if self.life.load(Ordering::Acquire) == Life::Closed as u8 {
            return Completion::succeeded(self.clone());
        }
        close
            .get_or_insert_with(|| {
                let host = WeakHost { shared: Arc::downgrade(self), event_loop: self.event_loop.clone() };
                let promise = Promise::new(Arc::new(host));
                // The user's side can't cancel a close.
                promise.set_uncancellable();
                let completion = promise.completion();
                Box::new(CloseFuture { promise, completion })
            })
            .completion
            .clone()
    }
}

/// The channel never came to its loop, or its loop ended with it: whoever waits for the end is told.
impl Drop for Shared {
    fn drop(&mut self) {
        self.complete_close();
    }
}

impl ListenerHost for Shared {
    fn run_listener(&self, job: Task) {
        if let Some(core) = self.core() {
            return core.push_root(Root::Listener(job));
        }
        // Not registered, ended, or another thread: the loop's own order has to do.
        self.event_loop.host().run_listener(job);
    }

    fn would_deadlock(&self) -> bool {
        self.event_loop.host().would_deadlock()
    }
}

impl KeyTarget for Shared {
    fn key_done(self: Arc<Self>, node: u64, key: u64, result: Result<(), Error>) {
        self.on_loop(move |core| {
            core.call_node(NodeId::from_bits(node), move |handler, ctx| handler.write_done(ctx, key, result));
        });
    }
}
