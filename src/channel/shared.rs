//! What every thread may see of a channel. The handle ([`Channel`](super::Channel)) points here; the loop's side finds
//! its way back by a slot among the loop's attached channels.

use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Attributes;
use super::address::Address;
use super::lifetime::Life;
use super::transport::Metadata;
use crate::event_loop::EventLoop;

/// No slot yet, or no longer.
pub(crate) const DETACHED: u32 = u32::MAX;

/// A connection, a listening socket, a stream: the handle, cheap to clone and usable from any thread.
///
/// On the channel's own loop its operations run at once, from the pipeline's tail. From elsewhere they travel to the loop
/// as tasks, in the order in which one thread gave them, and wake it at most once per sleep. Those of a channel that is not
/// registered yet, as `connect` and `bind` give it, wait from everywhere: they run in order when its handlers are there and
/// its bind or connect has begun.
#[derive(Clone)]
pub struct Channel {
    pub(crate) shared: Arc<Shared>,
}

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

    /// The number; never zero.
    pub(crate) fn as_u64(self) -> u64 {
        self.0
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

/// What a channel is, as bits.
mod nature {
    pub(super) const IS_SERVER: u8 = 1 << 0;
    /// The transport can undo a connect.
    pub(super) const HAS_DISCONNECT: u8 = 1 << 1;
    /// The far side of a relay: its promises are another channel's.
    pub(super) const SERVES_ANOTHER: u8 = 1 << 2;
    /// The peer has ended its side in order. No nature, as the next one, but it holds from then on.
    pub(super) const PEER_HAS_ENDED: u8 = 1 << 3;
    /// The input has ended otherwise: this side has shut it, or the connection broke.
    pub(super) const INPUT_CUT: u8 = 1 << 4;
}

/// See the module's page.
pub(crate) struct Shared {
    id: ChannelId,
    pub(crate) event_loop: EventLoop,
    /// The listener that has accepted it, or whose stream it is; of the far side of a relay, the channel that it serves.
    parent: Option<Channel>,
    pub(crate) slot: AtomicU32,
    /// 0: writable. Bit 0: above the high watermark until below the low one. Bits 1 to 31: the user's.
    pub(crate) unwritable: AtomicU32,
    pub(crate) life: AtomicU8,
    /// Bit 0: reading goes on by itself. The others count how often that was switched, wrapping.
    auto_read: AtomicU8,
    /// Nothing can be written any more. The watermark's bit is set then, and stays.
    output_shut: AtomicBool,
    /// What it is: bits of `nature`.
    nature: AtomicU8,
    /// Relays on whose other side too much is undelivered, and that stand behind handlers of this side.
    holds: AtomicU16,
    /// On the far side of a relay: how often its handlers have switched auto-read without its having reached the channel.
    switching: AtomicU16,
    /// Bytes in the outbound buffer, written by the loop alone.
    pub(crate) queued: AtomicUsize,
    /// Bytes of writes that other threads have submitted and that have not reached the pipeline (B24).
    pub(crate) submitted: AtomicUsize,
    /// low << 32 | high, in bytes.
    marks: AtomicU64,
    /// Mostly that of many channels: all that one listener accepts have one.
    local: OnceLock<Arc<Address>>,
    remote: OnceLock<Connected>,
    /// The promise of the close future stands beside them.
    attributes: Attributes,
}

/// What a connect brings.
enum Connected {
    To(Address),
    /// The remote address, and the local one where it is not the one that was bound (0.0.0.0). Rare, so in a box.
    Rebound(Box<(Address, Address)>),
    /// The transport can undo a connect, and then have another peer: what holds now. No message asks for the lock; a
    /// connect does, and whoever wants to know.
    Changing(Box<Mutex<Addresses>>),
}

/// The addresses of a channel whose peer may change.
struct Addresses {
    local: Option<Address>,
    remote: Option<Address>,
}

impl Connected {
    fn new(remote: Address, rebound: Option<Address>) -> Self {
        match rebound {
            Some(local) => Self::Rebound(Box::new((remote, local))),
            None => Self::To(remote),
        }
    }
}

// Where a lock takes more than a word there are fewer connections to think of.
const _: () = assert!(
    size_of::<Shared>() <= 136 || size_of::<OnceLock<u32>>() > 8,
    "one per connection; benches/idle.sh adds up what a connection takes"
);

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
            auto_read: AtomicU8::new(1),
            output_shut: AtomicBool::new(false),
            nature: AtomicU8::new(0),
            holds: AtomicU16::new(0),
            switching: AtomicU16::new(0),
            queued: AtomicUsize::new(0),
            submitted: AtomicUsize::new(0),
            marks: AtomicU64::new((32 << 10 << 32) | (64 << 10)),
            local: OnceLock::new(),
            remote: OnceLock::new(),
            attributes,
        })
    }

    /// The far side of a relay of this channel: no channel that anybody else sees.
    pub(crate) fn serving(event_loop: EventLoop, channel: Channel) -> Arc<Self> {
        let far_side = Self::new(event_loop, Some(channel), Attributes::default());
        far_side
            .nature
            .store(nature::SERVES_ANOTHER, Ordering::Relaxed);
        far_side
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn event_loop(&self) -> &EventLoop {
        &self.event_loop
    }

    pub(crate) fn parent(&self) -> Option<&Channel> {
        self.parent.as_ref().filter(|_| !self.serves_another())
    }

    /// The channel that handlers see: this one, unless it serves another.
    #[inline]
    pub(crate) fn face(self: &Arc<Self>) -> &Arc<Self> {
        if self.serves_another()
            && let Some(channel) = &self.parent
        {
            return channel.shared();
        }
        self
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        &self.attributes
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
        let switched = (self.auto_read.load(Ordering::Relaxed) | 1).wrapping_add(1);
        self.auto_read
            .store(switched | u8::from(on), Ordering::Relaxed);
    }

    /// The addresses from now on. Where a connect can't be undone they are settled by it; a local address that is known
    /// before (0.0.0.0) may still become another one then.
    pub(crate) fn set_addresses(&self, local: Option<Address>, remote: Option<Address>) {
        match self.remote.get() {
            Some(Connected::Changing(now)) => *lock(now) = Addresses { local, remote },
            Some(Connected::To(_) | Connected::Rebound(_)) => {}
            None if self.has_disconnect() => {
                let rebound = local.and_then(|local| self.set_local_address(local));
                if rebound.is_some() || remote.is_some() {
                    let local = rebound.or_else(|| self.local_address());
                    let now = Box::new(Mutex::new(Addresses { local, remote }));
                    let _ = self.remote.set(Connected::Changing(now));
                }
            }
            None => {
                let rebound = local.and_then(|local| self.set_local_address(local));
                if let Some(remote) = remote {
                    let _ = self.remote.set(Connected::new(remote, rebound));
                }
            }
        }
    }

    /// The first one stays; another comes back.
    fn set_local_address(&self, address: Address) -> Option<Address> {
        match self.local.get() {
            Some(known) if **known == address => None,
            Some(_) => Some(address),
            None => {
                let _ = self.local.set(address.into_shared());
                None
            }
        }
    }

    #[inline]
    pub(crate) fn serves_another(&self) -> bool {
        self.is_by_nature(nature::SERVES_ANOTHER)
    }

    /// The input has ended, in order or not. By the loop, before the pipeline hears of it.
    pub(crate) fn end_input(&self, in_order: bool) {
        let bit = if in_order {
            nature::PEER_HAS_ENDED
        } else {
            nature::INPUT_CUT
        };
        self.nature.fetch_or(bit, Ordering::Relaxed);
    }

    /// See [`Context::input_was_cut`](super::core::Context::input_was_cut).
    pub(crate) fn input_was_cut(&self) -> bool {
        let is_whole = self.is_by_nature(nature::PEER_HAS_ENDED);
        self.is_by_nature(nature::INPUT_CUT) || !is_whole && self.life() >= Life::Closing
    }

    #[inline]
    fn is_by_nature(&self, bit: u8) -> bool {
        self.nature.load(Ordering::Relaxed) & bit != 0
    }

    /// What its transport makes it. By whoever made it, before others have it.
    pub(crate) fn take_after(&self, metadata: Metadata) {
        let is_server = u8::from(metadata.is_server) * nature::IS_SERVER;
        let has_disconnect = u8::from(metadata.has_disconnect) * nature::HAS_DISCONNECT;
        let before = self.nature.load(Ordering::Relaxed) & nature::SERVES_ANOTHER;
        self.nature
            .store(before | is_server | has_disconnect, Ordering::Relaxed);
    }

    /// How many relays hold back what handlers before them have to emit.
    #[inline]
    pub(crate) fn holds(&self) -> u16 {
        self.holds.load(Ordering::Relaxed)
    }

    pub(crate) fn hold(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unhold(&self) {
        self.holds.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_marks(&self, low: usize, high: usize) {
        let clamp = |bytes: usize| u64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.marks
            .store((clamp(low) << 32) | clamp(high), Ordering::Relaxed);
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

    pub(crate) fn has_disconnect(&self) -> bool {
        self.is_by_nature(nature::HAS_DISCONNECT)
    }

    pub(crate) fn is_server(&self) -> bool {
        self.is_by_nature(nature::IS_SERVER)
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
        self.auto_read_switches() & 1 != 0
    }

    /// Another number after each switch of auto-read.
    pub(crate) fn auto_read_switches(&self) -> u8 {
        self.auto_read.load(Ordering::Relaxed)
    }

    // ---- auto-read as a handler on another loop sees it
    //
    // It is the channel's, and the handler's wish travels there. Until it has arrived the handler sees its wish, which
    // this side keeps; from then on what the channel does.

    /// A handler of this side has switched auto-read, and the channel does not know yet.
    pub(crate) fn begin_switching(&self, on: bool) {
        self.publish_auto_read(on);
        self.switching.fetch_add(1, Ordering::Relaxed);
    }

    /// The channel has heard of it, or never will.
    pub(crate) fn end_switching(&self) {
        self.switching.fetch_sub(1, Ordering::Release);
    }

    /// What a handler of this side asked for last, while that is under way.
    pub(crate) fn wished_auto_read(&self) -> Option<bool> {
        (self.switching.load(Ordering::Acquire) != 0).then(|| self.auto_read())
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.slot.load(Ordering::Relaxed) != DETACHED
    }

    pub(crate) fn local_address(&self) -> Option<Address> {
        match self.remote.get() {
            Some(Connected::Rebound(addresses)) => Some(addresses.1.clone()),
            Some(Connected::Changing(now)) => lock(now).local.clone(),
            Some(Connected::To(_)) | None => self.local.get().map(|local| (**local).clone()),
        }
    }

    pub(crate) fn remote_address(&self) -> Option<Address> {
        match self.remote.get()? {
            Connected::To(remote) => Some(remote.clone()),
            Connected::Rebound(addresses) => Some(addresses.0.clone()),
            Connected::Changing(now) => lock(now).remote.clone(),
        }
    }
}

fn lock(addresses: &Mutex<Addresses>) -> MutexGuard<'_, Addresses> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}
