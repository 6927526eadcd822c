#!/usr/bin/env bash
# Runs the tests of tidegate-sys, where all unsafe code is, under a tool that watches memory.
#
#   sys/memory.sh asan|valgrind
#
# asan: AddressSanitizer with its leak check. It needs a nightly toolchain of rustup's with the sanitizer's runtime in it;
#   the standard library is the prebuilt one, so what happens inside of it is seen at its calls of malloc only.
# valgrind: memcheck with its leak check, on the debug build of the default toolchain. Some minutes. valgrind 3.19
#   does not know epoll_pwait2, and says so; then the fallback is what runs, whose waits are whole milliseconds: the test of
#   shorter ones is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')

case ${1:-} in
asan)
	if ! sysroot=$(rustc +nightly --print sysroot 2>/dev/null); then
		echo 'asan: no nightly toolchain: rustup toolchain install nightly'
		exit 2
	fi
	runtime=$sysroot/lib/rustlib/$host/lib/librustc-nightly_rt.asan.a
	if [[ ! -e $runtime ]]; then
		echo "asan: the nightly toolchain has no sanitizer for $host: $runtime is missing"
		exit 2
	fi
	# With --target, so that build scripts are built without it. Doc tests are rustdoc's, which has flags of its own.
	RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=1 CARGO_TARGET_DIR=target/asan \
		"$cargo" +nightly test --package tidegate-sys --features sim --lib --tests --target "$host"
	;;
valgrind)
	log=target/valgrind.log
	mkdir -p target
	"$cargo" test --package tidegate-sys --lib --tests --no-run --message-format=json 2>/dev/null |
		grep -o '"executable":"[^"]*"' | cut -d'"' -f4 >"$log.programs"
	[[ -s $log.programs ]] || { echo 'valgrind: nothing was built'; exit 2; }
	while read -r program; do
		echo "==> valgrind: ${program##*/}"
		valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
			--errors-for-leak-kinds=definite --fair-sched=yes "$program" --quiet \
			--skip timeouts_below_a_millisecond_are_kept </dev/null
	done <"$log.programs"
	;;
*)
	echo 'usage: sys/memory.sh asan|valgrind'
	exit 2
	;;
esac
echo "==> $1: ok"
