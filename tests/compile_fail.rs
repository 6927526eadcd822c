//! What the compiler says to whoever puts a pipeline together wrongly. The programs are in tests/ui/, each one mistake;
//! beside each is what is expected of the compiler.
//!
//! The texts are those of one compiler version, so another one skips the comparison, and says so. To write them anew:
//! `TRYBUILD=overwrite cargo test --test compile_fail`, and look at the difference.

use std::process::Command;

/// The version that wrote tests/ui/*.stderr.
const WRITTEN_BY: &str = "rustc 1.95.";

#[test]
fn mistakes_in_pipelines_are_explained() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    if !version.starts_with(WRITTEN_BY) {
        println!("skipped: tests/ui/*.stderr are what {WRITTEN_BY}x says, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
