//! The memory that encoders write to: one block per thread, shared by all channels of its loops, so that an idle connection
//! holds none. What was encoded is split off without copying; when all of it has been sent the block is used again from
//! its front, so a warm loop encodes without allocating.

use std::cell::Cell;

use bytes::BytesMut;

/// The size of a block in bytes: some hundred small messages between two flushes.
const BLOCK: usize = 16 * 1024;

/// Below so much spare room, in bytes, a block begins anew instead of letting an encoder run into its end, which would
/// copy what it has written so far.
const ROOM_MIN: usize = 256;

thread_local! {
    static ROOM: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// Runs `encode` with an empty buffer that has room, and gives what was appended to it.
///
/// An encoder that encodes on its way, through another pipeline say, gets a block of its own meanwhile.
#[inline]
pub(super) fn encode<E>(
    encode: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<BytesMut, E> {
    let mut room = ROOM.take();
    if room.capacity() < ROOM_MIN {
        room.reserve(BLOCK);
    }
    let result = encode(&mut room);
    let encoded = room.split();
    ROOM.set(room);
    result.map(|()| encoded)
}
