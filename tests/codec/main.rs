//! The codecs, without channels: vectors cut at every place, mutated inputs, encoders, and what goes wrong.
//!
//! - `vectors`: what each decoder makes of its input, however it was cut into reads.
//! - `mutations`: a short run of the fuzzing in fuzz/, whose trials are used here.

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)] // What only libFuzzer calls.
mod fuzz;
mod mutations;
