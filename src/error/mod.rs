//! Errors that say who is at fault and what to do.
