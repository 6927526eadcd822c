//! What the programs in src/bin share: the servers their arguments and their answer, the comparison its load, figures
//! and pictures. Nothing here is part of Tidegate, and nothing in Tidegate knows it.
//!
//! - `choice`: arguments that several programs take;
//! - `os`: system calls, and all unsafe code of this package;
//! - `serve`: what every server does before it serves;
//! - `echo`: the answer of the servers that are written by hand on readiness;
//! - `load`: the load generator; `plan`: what it is asked to do, by name;
//! - `round`: one server under one load; `stats`: medians and ratios; `report`: tables, JSON; `picture`: SVG;
//! - `knobs`: what the tuning page turns, as arguments; `burden`: work besides the echo; `sweep`: which values are tried
//!   under which load; `curves`: what came of it, as CSV, tables and small pictures;
//! - `machine`: what the figures were measured on.

#[path = "../../../examples/common/args.rs"]
pub mod args;
pub mod burden;
pub mod choice;
pub mod curves;
pub mod echo;
pub mod knobs;
pub mod load;
pub mod machine;
pub mod os;
pub mod picture;
pub mod plan;
pub mod report;
pub mod round;
pub mod serve;
pub mod stats;
pub mod sweep;
