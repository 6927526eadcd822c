//! Trouble with a real kernel: buffers of the smallest size, connections that are reset, peers that stop reading or are
//! stopped, clients that are killed at any point, a process without descriptors. Each time nothing may be lost, done twice
//! or left over. The storm of signals has a binary of its own, tests/trouble_storm; what takes long and is measured is in
//! benches/trouble.
//!
//! Nothing here is decided by a sleep: tests wait for what must happen, with a deadline.
#![cfg(target_os = "linux")]

mod buffers;
mod descriptors;
mod kills;
mod lingering;
mod peers;
mod resets;
mod support;
#[path = "../common/ways.rs"]
mod ways;
