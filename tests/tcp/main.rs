//! What only TCP channels have, over real sockets of this machine, on loops built every way that matters: their options and
//! addresses, urgent data, lingering, shards. What every kind of stream does is in tests/transports.

mod callbacks;
mod closing;
mod compaction;
mod connect;
mod kernel_options;
mod left_over;
mod options;
#[path = "../common/plain.rs"]
mod plain;
#[path = "../common/probe.rs"]
mod probe;
#[cfg(target_os = "linux")]
mod raw_options;
mod reading;
mod server;
mod support;
#[path = "../common/ways.rs"]
mod ways;
