//! Fewer flushes.
