//! Settles the default selector backend before anything is compiled.
//!
//! `TIDEGATE_BACKEND` (epoll, epoll-level, kqueue or poll) forces another default than the target's own; a
//! name that does not exist, or that the target does not have, stops the build here with a sentence instead
//! of failing in the first loop that opens a selector. tidegate-sys reads the same variable for the code
//! itself; tests/backend.rs holds the two to the same answer.

use std::env;

/// Every backend there is, in the order in which we list them to people.
const BACKENDS: [&str; 4] = ["epoll", "epoll-level", "kqueue", "poll"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEGATE_BACKEND");
    let known = BACKENDS.map(|name| format!("\"{name}\"")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(tidegate_backend, values({known}))");

    let target_os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match choose(env::var("TIDEGATE_BACKEND").ok().as_deref(), &target_os) {
        Ok(backend) => {
            println!("cargo::rustc-cfg=tidegate_backend=\"{backend}\"");
            println!("cargo::rustc-env=TIDEGATE_DEFAULT_BACKEND={backend}");
        }
        Err(complaint) => println!("cargo::error={complaint}"),
    }
}

/// The default backend for a target, or the sentence that tells the builder what to change.
fn choose(wanted: Option<&str>, target_os: &str) -> Result<&'static str, String> {
    let available = backends_of(target_os);
    let Some(wanted) = wanted.map(str::trim).filter(|name| !name.is_empty()) else {
        return Ok(available[0]);
    };
    if let Some(backend) = available.iter().find(|name| **name == wanted) {
        return Ok(backend);
    }
    let choices = available.join(", ");
    Err(if BACKENDS.contains(&wanted) {
        format!("TIDEGATE_BACKEND={wanted} cannot work on {target_os}; it has: {choices}")
    } else {
        format!("TIDEGATE_BACKEND={wanted} names no backend; {target_os} has: {choices}")
    })
}

/// The backends that a target can run, its own default first. Any Unix has poll.
fn backends_of(target_os: &str) -> &'static [&'static str] {
    match target_os {
        "linux" | "android" => &["epoll", "epoll-level", "poll"],
        "macos" | "ios" | "tvos" | "visionos" | "watchos" | "freebsd" | "openbsd" | "netbsd"
        | "dragonfly" => &["kqueue", "poll"],
        _ => &["poll"],
    }
}
