//! The two build scripts settle the default selector for themselves, since neither crate sees the other's: here both are
//! built and asked about every target and every wish, and the crates that came out of them are compared.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate::event_loop::Backend;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Targets with and without each backend.
const SYSTEMS: [&str; 14] = [
    "linux",
    "android",
    "macos",
    "ios",
    "tvos",
    "visionos",
    "watchos",
    "freebsd",
    "openbsd",
    "netbsd",
    "dragonfly",
    "solaris",
    "illumos",
    "haiku",
];

const WISHES: [Option<&str>; 8] = [
    None,
    Some(""),
    Some("epoll"),
    Some("epoll-level"),
    Some("kqueue"),
    Some("poll"),
    Some(" poll "),
    Some("select"),
];

/// A build script as a program; removed when dropped.
struct BuildScript(PathBuf);

impl BuildScript {
    fn build(path: &str, name: &str) -> Self {
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "--crate-name", name, "-o"])
            .arg(&program)
            .arg(Path::new(ROOT).join(path))
            .status()
            .expect("rustc runs");
        assert!(status.success(), "{path} compiles");
        Self(program)
    }

    /// The lines that cargo would get.
    fn run(&self, os: &str, width: &str, shim: bool, wish: Option<&str>) -> BTreeSet<String> {
        self.run_with(os, width, shim.then_some("SHIM"), wish)
    }

    /// With one of the two cfgs that make Linux a kqueue system.
    fn run_with(
        &self,
        os: &str,
        width: &str,
        kqueue: Option<&str>,
        wish: Option<&str>,
    ) -> BTreeSet<String> {
        let mut command = Command::new(&self.0);
        command
            .env("CARGO_CFG_TARGET_OS", os)
            .env("CARGO_CFG_TARGET_POINTER_WIDTH", width)
            .env_remove("CARGO_CFG_TIDEGATE_KQUEUE_SHIM")
            .env_remove("CARGO_CFG_TIDEGATE_KQUEUE_FAKE")
            .env_remove("TIDEGATE_BACKEND");
        if let Some(kind) = kqueue {
            command.env(format!("CARGO_CFG_TIDEGATE_KQUEUE_{kind}"), "");
        }
        if let Some(wish) = wish {
            command.env("TIDEGATE_BACKEND", wish);
        }
        let output = command.output().expect("it runs");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for BuildScript {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The default that the script chose, or none if it stops the build.
fn default_of(lines: &BTreeSet<String>, cfg: &str) -> Option<String> {
    if lines.iter().any(|line| line.starts_with("cargo::error=")) {
        return None;
    }
    let start = format!("cargo::rustc-cfg={cfg}=\"");
    let default = lines.iter().find_map(|line| line.strip_prefix(&start));
    let default = default.expect("a default, or an error");
    Some(default.trim_end_matches('"').to_owned())
}

#[test]
fn both_build_scripts_choose_the_same_default_or_stop_the_build() {
    let ours = BuildScript::build("build.rs", "ours");
    let sys = BuildScript::build("sys/build.rs", "sys");
    for os in SYSTEMS {
        for (width, shim) in [("64", false), ("32", false), ("64", true)] {
            for wish in WISHES {
                let (ours, sys) = (
                    ours.run(os, width, shim, wish),
                    sys.run(os, width, shim, wish),
                );
                let chosen = default_of(&sys, "tidegate_default");
                assert_eq!(
                    default_of(&ours, "tidegate_backend"),
                    chosen,
                    "{os}, {width} bits, shim {shim}, {wish:?}"
                );
                // What is chosen is compiled.
                let compiled = match chosen.as_deref() {
                    Some("epoll" | "epoll-level") => "cargo::rustc-cfg=tidegate_epoll",
                    Some("kqueue") => "cargo::rustc-cfg=tidegate_kqueue",
                    _ => continue,
                };
                assert!(sys.contains(compiled), "{os}, {wish:?}: {sys:?}");
            }
        }
    }
}

/// The shim and the fake make Linux a kqueue system, for both.
#[test]
fn the_kqueues_of_linux_are_known_to_both_build_scripts() {
    let ours = BuildScript::build("build.rs", "ours_kqueue");
    let sys = BuildScript::build("sys/build.rs", "sys_kqueue");
    for (kind, name) in [("SHIM", "shim"), ("FAKE", "fake")] {
        let ours = ours.run_with("linux", "64", Some(kind), None);
        let sys = sys.run_with("linux", "64", Some(kind), None);
        let kqueue = Some("kqueue".to_owned());
        assert_eq!(default_of(&ours, "tidegate_backend"), kqueue);
        assert_eq!(default_of(&sys, "tidegate_default"), kqueue);
        assert!(!sys.contains("cargo::rustc-cfg=tidegate_epoll"), "{sys:?}");
        for lines in [ours, sys] {
            let check = format!("cargo::rustc-check-cfg=cfg(tidegate_kqueue_{name})");
            assert!(lines.contains(&check), "{lines:?}");
        }
    }
}

/// What was built is what both scripts said, in this very build.
#[test]
fn the_crate_and_the_kernel_door_have_one_default() {
    assert_eq!(
        Backend::default().to_string(),
        env!("TIDEGATE_DEFAULT_BACKEND")
    );
    assert!(Backend::available().contains(&Backend::default()));
}
