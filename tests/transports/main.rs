//! One behaviour, every transport: what holds for TCP holds for each kind of stream, so each test here runs over every row
//! of the table in `row`, on loops built every way that matters to that row. What only one kind has is tested beside its
//! row (`local` here, tests/tcp for sockets of TCP).
//!
//! `ROW=local cargo test --test transports` runs one row.

mod closing;
mod connect;
mod echo;
mod files;
mod local;
mod local_peer;
mod local_random;
mod options;
mod place;
#[path = "../common/plain.rs"]
mod plain;
mod plain_peer;
#[path = "../common/probe.rs"]
mod probe;
mod reading;
#[path = "../common/refusing.rs"]
mod refusing;
mod row;
mod server;
mod talking;
mod unix_peer;
#[path = "../common/ways.rs"]
mod ways;
mod writing;
