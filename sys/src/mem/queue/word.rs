//! The tail's word: its flags and the unit of its positions. And what keeps values apart.

use super::chunk::SLOTS;

/// Tail bit: the consumer sleeps, and nobody has been told to wake it.
pub(super) const SLEEPING: usize = 1 << 0;
/// Tail bit: pushes are refused, for good.
pub(super) const CLOSED: usize = 1 << 1;
pub(super) const FLAGS: usize = SLEEPING | CLOSED;
/// One position. Positions are kept in this unit everywhere, so that they compare without shifts.
pub(super) const STEP: usize = 1 << 2;
/// The positions of one chunk.
pub(super) const SPAN: usize = SLOTS * STEP;

/// A value alone on its cache lines; two, because neighbours are fetched in pairs on the usual
/// machines.
#[repr(align(128))]
pub(super) struct Line<T>(pub(super) T);
