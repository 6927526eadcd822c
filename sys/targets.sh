#!/usr/bin/env bash
# Type-checks and lints the whole workspace for systems that this machine is not: FreeBSD, OpenBSD, NetBSD, macOS,
# and Linux on the other processor with system calls of its own (sys/src/os/direct.rs).
#
#   sys/targets.sh [TARGET...]        (default: all of them)
#
# rustup has no standard library for them here, so cargo builds it from source. Debian's rustc-web packages
# bring a compiler and the source of the same version; a mixture of two versions does not compile. The first
# run takes about a minute per target, later ones seconds: the results are kept outside of the checkout, where
# a fresh clone finds them.
set -euo pipefail

cd "$(dirname "$0")/.."
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(
    x86_64-unknown-freebsd x86_64-unknown-openbsd x86_64-unknown-netbsd aarch64-apple-darwin x86_64-apple-darwin
    aarch64-unknown-linux-gnu
)

packages=(rustc-web cargo-web rust-web-src rust-web-clippy)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "==> targets: installing ${missing[*]}"
    if [[ $(id -u) == 0 ]]; then as_root=(); else as_root=(sudo); fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# RUSTC: Debian's cargo would find rustup's rustc first. RUSTC_BOOTSTRAP: -Zbuild-std is not stable.
export RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${TMPDIR:-/var/tmp}/tidegate-targets"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTUP_TOOLCHAIN

# The plug-in is called by its path: `cargo clippy` would find rustup's. It reports all that `cargo check`
# does.
lint() {
    # The last: it takes the thread_local! of systems without thread locals of their own (OpenBSD) for one of ours.
    /usr/bin/cargo-clippy clippy --quiet --locked -Zbuild-std=std,test --target "$target" "$@" -- -D warnings \
        -A clippy::missing-const-for-thread-local
}

for target in "${targets[@]}"; do
    started=$SECONDS
    echo "==> targets: $target: tidegate-sys and its tests"
    lint --package tidegate-sys --lib --tests
    # Without its tests: criterion has C code, for which there is no compiler here.
    echo "==> targets: $target: every library of the workspace"
    lint --workspace --lib
    echo "==> targets: $target: the same with the simulated kernel"
    lint --workspace --lib --features sim
    echo "==> targets: $target: ok, $((SECONDS - started)) s"
done
