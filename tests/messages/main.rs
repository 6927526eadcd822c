//! The handlers around codecs and the typed handlers, through embedded channels: rules H1 to H12 and H21 to H24.

mod aggregating;
mod codecs;
mod datagrams;
mod decoding;
mod edits;
mod encoding;
mod ends;
mod random;
mod slow;
mod support;
mod transforming;
mod typed;
