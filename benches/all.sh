#!/usr/bin/env bash
# Every benchmark, a short round against the peers, and one table of what came out (`make bench`; about 8 minutes).
#
# Which benchmarks there are is read from Cargo.toml. `hops` and `trouble` are left out: `make hops` counts
# the instructions of the one, `make trouble` takes minutes for the other.
# ROUNDS is how often the servers take turns.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
log=target/bench.log
rounds=${ROUNDS:-12}

names=$(awk '/^\[\[bench\]\]/ { wanted = 1 } wanted && /^name/ { gsub(/"/, "", $3); print $3; wanted = 0 }' Cargo.toml |
    grep -vx 'hops\|trouble')
arguments=()
for name in $names; do arguments+=(--bench "$name"); done

mkdir -p target
# shellcheck disable=SC2086
"$cargo" bench "${arguments[@]}" 2>&1 | tee "$log"

peers=(--manifest-path benches/peers/Cargo.toml --target-dir target/peers)
"$cargo" build --release "${peers[@]}"
target/peers/release/compare --scenarios pp1,pp64,pipe64 --rounds "$rounds" \
    --servers raw,mio,tokio,tokio-lean,monoio,tidegate >target/bench-peers.md

echo
echo '==> summary (the whole of it: target/bench.log, target/bench-peers.md)'
# Criterion gives a name its own line when it is long: then the time is on the next one.
awk '
    /^Benchmarking / { next }
    /time: *\[/ {
        line = $0
        sub(/ *time:.*/, "", line)
        if (line ~ /[^ ]/) name = line
        split(substr($0, index($0, "[") + 1), low)
        printf "%-62s %9s %s\n", name, low[3], low[4]
        next
    }
    /, median: / { print; next }
    /^[^ ]/ { name = $0 }' "$log"
echo
sed -n '/^\*\*server CPU/,/^\*\*latency, p99.9/p' target/bench-peers.md | sed '/p99.9/d'
sed -n '/absolute/,$p' target/bench-peers.md
