//! TCP channels over real sockets of this machine, with every selector that it has.

mod echo;
mod support;
