//! Settles the default selector backend before anything is compiled.
//!
//! `TIDEGATE_BACKEND` (epoll, epoll-level, kqueue or poll) forces another default than the target's own; a
//! name that does not exist, or that the target does not have, stops the build here with a sentence instead
//! of failing in the first loop that opens a selector. tidegate-sys reads the same variable for the code
//! itself; tests/backend.rs holds the two to the same answer. `--cfg tidegate_kqueue_shim` and
//! `--cfg tidegate_kqueue_fake` make a Linux build a kqueue one, as sys/build.rs tells.

use std::env;

/// Every backend there is, in the order in which we list them to people.
const BACKENDS: [&str; 4] = ["epoll", "epoll-level", "kqueue", "poll"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEGATE_BACKEND");
    let known = BACKENDS.map(|name| format!("\"{name}\"")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(tidegate_backend, values({known}))");
    println!("cargo::rustc-check-cfg=cfg(tidegate_kqueue_shim)");
    println!("cargo::rustc-check-cfg=cfg(tidegate_kqueue_fake)");

    let target_os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let shim = ["SHIM", "FAKE"]
        .into_iter()
        .any(|kind| env::var_os(format!("CARGO_CFG_TIDEGATE_KQUEUE_{kind}")).is_some());
    // A token is 64 bits and travels in kqueue's user pointer.
    let is_wide = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|width| width == "64");
    let available = if shim {
        &["kqueue", "poll"]
    } else {
        backends_of(&target_os, is_wide)
    };
    match choose(env::var("TIDEGATE_BACKEND").ok().as_deref(), available) {
        Ok(backend) => {
            println!("cargo::rustc-cfg=tidegate_backend=\"{backend}\"");
            println!("cargo::rustc-env=TIDEGATE_DEFAULT_BACKEND={backend}");
        }
        Err(complaint) => println!("cargo::error={complaint}"),
    }
}

/// The default among the backends that the target has, or the sentence that tells the builder what to change.
fn choose(wanted: Option<&str>, available: &[&'static str]) -> Result<&'static str, String> {
    let Some(wanted) = wanted.map(str::trim).filter(|name| !name.is_empty()) else {
        return Ok(available[0]);
    };
    let found = available.iter().find(|name| **name == wanted);
    found.copied().ok_or_else(|| {
        let known = BACKENDS.contains(&wanted);
        let fault = if known {
            "cannot work on this target"
        } else {
            "names no backend"
        };
        format!(
            "TIDEGATE_BACKEND={wanted} {fault}; choose among: {}",
            available.join(", ")
        )
    })
}

/// The backends that a target can run, its own default first. Any Unix has poll.
fn backends_of(target_os: &str, is_wide: bool) -> &'static [&'static str] {
    match target_os {
        "linux" | "android" => &["epoll", "epoll-level", "poll"],
        "macos" | "ios" | "tvos" | "visionos" | "watchos" | "freebsd" | "openbsd" | "netbsd"
        | "dragonfly"
            if is_wide =>
        {
            &["kqueue", "poll"]
        }
        _ => &["poll"],
    }
}
