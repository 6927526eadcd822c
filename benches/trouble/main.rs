//! Figures under trouble, each with its limit (`make trouble`; `make trouble CASE=limit SECONDS=10` for one of them).
//!
//! - `limit`: a server at its limit of descriptors with 200 clients waiting: what it costs, what the others notice, and how
//!   soon accepting goes on.
//! - `timers`: how late timers are on an idle loop, in calm and in a storm of signals.
//! - `slow`: 1,000 peers that never read and producers that never stop: how much memory that takes.
//! - `ends`: `shutdown_gracefully` and `drain` with peers that never read, connects in flight and long timers: how many of
//!   100 end in time.
//!
//! Not part of `make bench`: it takes minutes. Every case has a calm part or a rival in the same run, since the machine may
//! have other things to do. The process ends with 1 if a limit is missed.

#[cfg(target_os = "linux")]
mod ends;
#[cfg(target_os = "linux")]
mod limit;
#[path = "../../examples/common/limits.rs"]
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod slow;
#[cfg(target_os = "linux")]
#[path = "../../sys/tests/support/storm.rs"]
mod storm;
#[cfg(target_os = "linux")]
mod support;
#[cfg(target_os = "linux")]
mod timers;

#[cfg(target_os = "linux")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let case = args.iter().find(|arg| !arg.starts_with('-'));
    let mut figures = support::Figures::default();
    match case.map(String::as_str) {
        None => {
            return println!(
                "trouble: name a case (limit, timers, slow, ends, all); make trouble runs all"
            );
        }
        Some("limit-server") => return limit::serve(),
        Some("limit") => limit::run(&mut figures),
        Some("timers") => timers::run(&mut figures),
        Some("slow") => slow::run(&mut figures),
        Some("slow-writable") => slow::writable(&mut figures),
        Some("slow-auto-read") => slow::auto_read(&mut figures),
        Some("ends") => ends::run(&mut figures),
        Some("all") => {
            limit::run(&mut figures);
            timers::run(&mut figures);
            slow::run(&mut figures);
            ends::run(&mut figures);
        }
        Some(other) => panic!("no such case: {other}"),
    }
    figures.finish();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("trouble: measured on Linux only");
}
