//! libFuzzer on the codec `control_messages` of src/subject.rs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{one_input, subject};

fuzz_target!(|data: &[u8]| one_input(subject::codec("control_messages"), data));
