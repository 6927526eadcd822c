//! What passes, in words.
