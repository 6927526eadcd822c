//! The behaviour of TCP channels, once more, in a storm of signals: every loop's thread gets 1,000 a second, and each
//! interrupts whatever system call it is in (netty#14368, netty#16244). The tests are those of tests/tcp; what differs is
//! that a storm blows while they run. See tests/trouble for other trouble with a real kernel.
#![cfg(target_os = "linux")]

#[path = "../tcp/closing.rs"]
mod closing;
#[path = "../tcp/connect.rs"]
mod connect;
#[path = "../tcp/echo.rs"]
mod echo;
#[path = "../tcp/files.rs"]
mod files;
#[path = "../tcp/reading.rs"]
mod reading;
#[path = "../tcp/server.rs"]
mod server;
#[path = "../../sys/tests/support/storm.rs"]
mod storm;
#[path = "../tcp/support.rs"]
mod support;
mod timing;
mod ways;
#[path = "../tcp/writing.rs"]
mod writing;
