//! What handlers that let messages wait do with the memory of their queues.

use std::collections::VecDeque;

/// Room for so many is kept.
const KEPT_MAX: usize = 64;

/// Called when something has left the queue: gives back the room of a burst. What stays is at most four times what waits, so
/// that a queue which grows again is not moved about for each message. Not inlined: where messages do not wait nothing is to change.
#[inline(never)]
pub(super) fn relax<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > KEPT_MAX && queue.len() <= queue.capacity() / 4 {
        queue.shrink_to((queue.len() * 2).max(KEPT_MAX / 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_the_room_of_a_burst_and_moves_seldom() {
        let mut queue: VecDeque<u32> = (0..100_000).collect();
        let mut moves = 0;
        let mut room = queue.capacity();
        for left in (0..100_000).rev() {
            assert_eq!(queue.pop_front(), Some(99_999 - left));
            relax(&mut queue);
            moves += u32::from(queue.capacity() != room);
            room = queue.capacity();
            assert!(
                room <= KEPT_MAX.max(4 * (left as usize + 1)) + 8,
                "{left}: {room}"
            );
        }
        assert!(moves < 20, "{moves}");
        queue.push_back(1);
        let room = queue.capacity();
        for number in 0..1_000 {
            queue.push_back(number);
            queue.pop_front();
            relax(&mut queue);
        }
        assert_eq!(
            queue.capacity(),
            room,
            "a queue that is short stays where it is"
        );
    }
}
