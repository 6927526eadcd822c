//! Lists of slices for one gathering write, built on the stack.
//!
//! The outbound buffer calls it with what is pending; the list lives only as long as the call that
//! writes it.

use std::{io::IoSlice, ops::ControlFlow};

/// The most slices of one list: what Linux, macOS and the BSDs accept in one call (IOV_MAX).
pub const SLICES_MAX: usize = 1024;

/// Hands `write` a list of the first of the `buffers`, and the number of bytes in the list.
///
/// The list ends before it would exceed [`SLICES_MAX`] slices or `bytes_max` bytes, but always holds
/// the first buffer that is not empty. Empty buffers are left out. `count` is the number of buffers,
/// or more: it only chooses how large a list is prepared.
#[inline]
pub fn gather<'a, R>(
    buffers: impl Iterator<Item = &'a [u8]>,
    count: usize,
    bytes_max: usize,
    write: impl FnOnce(&[IoSlice<'a>], usize) -> R,
) -> R {
    // Preparing a list costs a store per slice, used or not, hence the sizes.
    match count {
        0..=4 => list::<4, R>(buffers, bytes_max, write),
        5..=16 => list::<16, R>(buffers, bytes_max, write),
        17..=128 => list::<128, R>(buffers, bytes_max, write),
        _ => list::<SLICES_MAX, R>(buffers, bytes_max, write),
    }
}

// Not inlined: the caller's frame must not grow to that of the longest list.
#[inline(never)]
fn list<'a, const N: usize, R>(
    buffers: impl Iterator<Item = &'a [u8]>,
    bytes_max: usize,
    write: impl FnOnce(&[IoSlice<'a>], usize) -> R,
) -> R {
    let mut slices = [IoSlice::new(&[]); N];
    let (mut used, mut total) = (0, 0_usize);
    // Internal iteration: over a chain of iterators it is twice as fast as a loop.
    let _ = buffers
        .filter(|buffer| !buffer.is_empty())
        .try_for_each(|buffer| {
            let with_it = total.saturating_add(buffer.len());
            if used == N || (used > 0 && with_it > bytes_max) {
                return ControlFlow::Break(());
            }
            slices[used] = IoSlice::new(buffer);
            used += 1;
            total = with_it;
            ControlFlow::Continue(())
        });
    write(&slices[..used], total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths in the list and its total.
    fn lengths(buffers: &[&[u8]], bytes_max: usize) -> (Vec<usize>, usize) {
        gather(
            buffers.iter().copied(),
            buffers.len(),
            bytes_max,
            |slices, total| (slices.iter().map(|slice| slice.len()).collect(), total),
        )
    }

    #[test]
    fn a_list_holds_everything_within_the_cap() {
        assert_eq!(lengths(&[b"ab", b"cde", b"f"], 6), (vec![2, 3, 1], 6));
        assert_eq!(lengths(&[b"ab", b"cde", b"f"], 5), (vec![2, 3], 5));
        assert_eq!(lengths(&[b"ab", b"cde", b"f"], 4), (vec![2], 2));
    }

    #[test]
    fn the_first_buffer_is_in_the_list_even_above_the_cap() {
        assert_eq!(lengths(&[b"abcdef", b"g"], 3), (vec![6], 6));
        assert_eq!(lengths(&[b"", b"abcdef", b"g"], 0), (vec![6], 6));
    }

    #[test]
    fn empty_buffers_take_no_slice() {
        assert_eq!(lengths(&[b"a", b"", b"b"], 100), (vec![1, 1], 2));
        assert_eq!(lengths(&[b"", b""], 100), (vec![], 0));
    }

    #[test]
    fn every_number_of_buffers_fits_its_list_and_the_system_s_limit() {
        for count in [1, 4, 5, 16, 17, 128, 129, SLICES_MAX, SLICES_MAX + 1] {
            let buffers = vec![&b"x"[..]; count];
            let (list, total) = lengths(&buffers, usize::MAX);
            assert_eq!(list.len(), count.min(SLICES_MAX));
            assert_eq!(total, list.len());
        }
    }
}
