//! The memory that encoders write to: two blocks per thread, shared by all channels of its loops, so that an idle
//! connection holds none. What was encoded is split off without copying; when all of a block has been sent it is used
//! again from its front. Two, because the block that is full is the one whose last messages have not been sent: so a warm
//! loop encodes without allocating as long as it has less than a block unsent.

use std::cell::Cell;

use bytes::BytesMut;

/// The size of a block in bytes: some hundred small messages between two flushes.
const BLOCK: usize = 16 * 1024;

/// With less spare room than this, in bytes, a block begins anew instead of letting an encoder run into its end, which
/// would copy what it has written so far. More than the largest body that is copied behind a header.
const ROOM_MIN: usize = 1280;

thread_local! {
    static ROOM: Cell<Room> = const { Cell::new(Room { block: None, other: None }) };
}

/// Both empty between calls: what was encoded has been split off.
#[derive(Default)]
struct Room {
    block: Option<BytesMut>,
    other: Option<BytesMut>,
}

impl Room {
    /// A block with room for what most encoders append.
    #[cold]
    fn renew(&mut self) -> BytesMut {
        let mut full = self.block.take().unwrap_or_default();
        if full.try_reclaim(BLOCK) {
            return full;
        }
        if let Some(mut other) = self.other.replace(full)
            && other.try_reclaim(BLOCK)
        {
            return other;
        }
        BytesMut::with_capacity(BLOCK)
    }
}

/// Runs `encode` with an empty buffer that has room, and gives what was appended to it.
///
/// An encoder that encodes on its way, through another pipeline say, gets a block of its own meanwhile.
#[inline]
pub(super) fn encode<E>(
    encode: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<BytesMut, E> {
    // A thread that ends may have let go of its blocks, and still write a farewell.
    let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
    let mut block = match room.block.take() {
        Some(block) if block.capacity() >= ROOM_MIN => block,
        block => {
            room.block = block;
            room.renew()
        }
    };
    let result = encode(&mut block);
    let encoded = block.split();
    room.block = Some(block);
    let _ = ROOM.try_with(|cell| cell.set(room));
    result.map(|()| encoded)
}
