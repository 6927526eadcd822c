//! Bandwidth limits.
