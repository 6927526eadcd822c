//! The simulated kernel against the real one: the same programs, the same answers, the same readiness.
//!
//! Each program is run on the kernel of this machine and in a simulation, over every backend, and has to tell the same
//! of both. Events are gathered until nothing more comes, because the real kernel may spread them over several waits.
#![cfg(all(feature = "sim", any(target_os = "linux", target_os = "android")))]

mod datagrams;
mod kit;
mod tcp;
mod unix;
