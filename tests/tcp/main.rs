//! TCP channels over real sockets of this machine, with every selector that it has.

mod closing;
mod connect;
mod echo;
mod files;
mod options;
mod reading;
mod server;
mod support;
mod writing;
