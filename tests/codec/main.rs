//! The codecs, without channels: vectors cut at every place, encoders, what goes wrong, and mutated inputs.
//!
//! - `length_field`, `marks`, `formats`, `replaying`, `proxy_protocol`: the codecs, by kind.
//! - `mutations`: a short run of the fuzzing in fuzz/, whose trials are used here.
//! - `support`: how a vector is run.

mod formats;
#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)] // What only libFuzzer and the long run call.
mod fuzz;
mod length_field;
mod marks;
mod mutations;
mod proxy_protocol;
mod replaying;
mod support;
