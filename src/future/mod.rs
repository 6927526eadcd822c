//! Promises and futures.
