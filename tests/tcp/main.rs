//! TCP channels over real sockets of this machine, on loops built every way that matters.

mod closing;
mod connect;
mod echo;
mod files;
mod options;
mod reading;
mod server;
mod support;
#[path = "../common/ways.rs"]
mod ways;
mod writing;
