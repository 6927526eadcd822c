//! Large things in chunks, bandwidth limits, and the linked pair of embedded channels. No sleeps: but for `tcp`, the
//! clock is moved by hand.

mod feed;
mod inputs;
mod model;
mod pair;
mod stream;
mod support;
mod tcp;
mod traffic;
