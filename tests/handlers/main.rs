//! The ready-made handlers, one module for each: what they do, and that nothing is lost in them.
//!
//! Each test names what it pins in a line `Rules: ...`: `H31` is Netty's rule of that number, `6.7` rule 7 of the pipeline in
//! ARCHITECTURE.md.

#[path = "../common/mod.rs"]
mod common;
// The allocator is unsafe code, and that lives under sys/.
#[path = "../../sys/tests/support/counting.rs"]
mod counting;

mod allocations;
mod flow;
mod flush;
mod idle;
mod ip_filter;
mod logging;
mod pcap;
mod pcap_datagrams;
mod proxy_protocol;
mod read_timeout;
mod unwritable;
mod write_timeout;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;
