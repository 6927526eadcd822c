//! The behaviour of every kind of stream, once more, in a storm of signals: every loop's thread gets 1,000 a second, and
//! each interrupts whatever system call it is in (netty#14368, netty#16244). The tests are those of tests/transports; what
//! differs is that a storm blows while they run. See tests/trouble for other trouble with a real kernel.
#![cfg(target_os = "linux")]

#[path = "../transports/closing.rs"]
mod closing;
#[path = "../transports/connect.rs"]
mod connect;
#[path = "../transports/echo.rs"]
mod echo;
#[path = "../transports/files.rs"]
mod files;
#[path = "../transports/local_peer.rs"]
mod local_peer;
#[path = "../transports/place.rs"]
mod place;
#[path = "../common/plain.rs"]
mod plain;
#[path = "../transports/plain_peer.rs"]
mod plain_peer;
#[path = "../common/probe.rs"]
mod probe;
#[path = "../transports/reading.rs"]
mod reading;
#[path = "../common/refusing.rs"]
mod refusing;
#[path = "../transports/row.rs"]
mod row;
#[path = "../transports/server.rs"]
mod server;
#[path = "../../sys/tests/support/storm.rs"]
mod storm;
mod timing;
#[path = "../transports/unix_peer.rs"]
mod unix_peer;
mod ways;
#[path = "../transports/writing.rs"]
mod writing;
