//! What an application can see of a loop at work: events of channels and loops, the names of tasks, stalls.
//!
//! Each test names what it pins in a line `Rules: ...`, as in the other folders.

#[path = "../common/refusing.rs"]
mod refusing;
#[path = "../common/telling.rs"]
mod telling;

mod datagrams;
mod events;
mod stalls;
mod tasks;
