//! Chooses the selector backends that this target has, and the one that is the default.
//!
//! * `tidegate_epoll`, `tidegate_kqueue`: the backend is compiled. poll(2) always is.
//! * `tidegate_default = "..."`: what `Backend::default()` answers.
//!
//! `TIDEGATE_BACKEND=epoll|epoll-level|kqueue|poll` in the environment of the build forces another
//! default; a name that the target does not have ends the build with a sentence that says so.
//!
//! `--cfg tidegate_kqueue_shim` (RUSTFLAGS) makes a Linux build act as a kqueue system: epoll is left
//! out, and the kqueue backend is linked against a shared library named `libkqueue`. `--cfg tidegate_kqueue_fake`
//! does the same with a kqueue of our own, made of epoll sets (`make kqueue`).

use std::env;

const FORCE: &str = "TIDEGATE_BACKEND";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={FORCE}");
    println!("cargo::rustc-check-cfg=cfg(tidegate_epoll)");
    println!("cargo::rustc-check-cfg=cfg(tidegate_kqueue)");
    println!("cargo::rustc-check-cfg=cfg(tidegate_kqueue_shim)");
    println!("cargo::rustc-check-cfg=cfg(tidegate_kqueue_fake)");
    println!(
        "cargo::rustc-check-cfg=cfg(tidegate_default, values(\"epoll\", \"epoll-level\", \"kqueue\", \"poll\"))"
    );

    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let shim = env::var_os("CARGO_CFG_TIDEGATE_KQUEUE_SHIM").is_some();
    let fake = env::var_os("CARGO_CFG_TIDEGATE_KQUEUE_FAKE").is_some();
    let epoll = !shim && !fake && matches!(os.as_str(), "linux" | "android");
    // A token is 64 bits and travels in a pointer: with shorter ones, poll has to do.
    let is_wide = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|width| width == "64");
    let kqueue = shim
        || fake
        || is_wide
            && matches!(
                os.as_str(),
                "macos"
                    | "ios"
                    | "tvos"
                    | "watchos"
                    | "visionos"
                    | "freebsd"
                    | "dragonfly"
                    | "netbsd"
                    | "openbsd"
            );

    if epoll {
        println!("cargo::rustc-cfg=tidegate_epoll");
    }
    if kqueue {
        println!("cargo::rustc-cfg=tidegate_kqueue");
    }
    if shim {
        println!("cargo::rustc-link-lib=dylib=kqueue");
        // RUSTFLAGS do not reach rustdoc and the tests in it.
        println!("cargo::rustc-cfg=tidegate_kqueue_shim");
    }

    if fake {
        println!("cargo::rustc-cfg=tidegate_kqueue_fake");
    }

    let natural = if epoll {
        "epoll"
    } else if kqueue {
        "kqueue"
    } else {
        "poll"
    };
    let forced = env::var(FORCE).unwrap_or_default();
    let default = match forced.trim() {
        "" => natural,
        "epoll" if epoll => "epoll",
        "epoll-level" if epoll => "epoll-level",
        "kqueue" if kqueue => "kqueue",
        "poll" => "poll",
        other => {
            println!(
                "cargo::error={FORCE}={other} is not a backend of this target ({os}); \
                 use epoll, epoll-level (Linux, Android), kqueue (macOS, BSD) or poll"
            );
            natural
        }
    };
    println!("cargo::rustc-cfg=tidegate_default=\"{default}\"");
}
