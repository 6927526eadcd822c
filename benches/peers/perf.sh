#!/usr/bin/env bash
# Where the processor time of an echo server under load goes: top functions as text, and a flame graph (`make perf`).
#
# SERVER names the server as in the tables, LOAD the scenario by connections, messages under way and bytes
# ("64 1 64"), TIME how many seconds. With BENCH=name a benchmark of Tidegate is recorded instead.
#
# Where the machine has hardware counters, cycles are sampled; elsewhere, as on most virtual machines, the time of the
# processor (cpu-clock), which needs none. Stacks are walked by frame pointers.
set -euo pipefail
cd "$(dirname "$0")/../.."
source benches/server.sh

peers=${PEERS_DIR:-target/peers}/release
read -r connections window size <<<"${LOAD:-64 1 64}"
seconds=${TIME:-5}
what=${SERVER:-tidegate}
data=target/perf.data

event=cpu-clock
perf stat -e cycles true 2>&1 | grep -q 'not supported' || event=cycles
record=(perf record --quiet -e "$event" -F 1999 --call-graph fp -o "$data")

if [[ -n ${BENCH:-} ]]; then
    what=bench-$BENCH
    binary=$(${CARGO:-cargo} bench --no-run --bench "$BENCH" --message-format=json 2>/dev/null |
        grep -o "\"executable\":\"[^\"]*/$BENCH-[^\"]*\"" | cut -d '"' -f 4)
    echo "==> recording the bench $BENCH ($event)"
    # Criterion would spend half of its time on statistics; benches of our own ignore what they do not know.
    "${record[@]}" -- "$binary" --bench --profile-time "$seconds" >/dev/null
else
    case $what in
    raw) program=$peers/peer-raw options=() ;;
    mio) program=$peers/peer-mio options=() ;;
    tokio) program=$peers/peer-tokio options=(--mode plain) ;;
    tokio-lean) program=$peers/peer-tokio options=(--mode lean) ;;
    monoio) program=$peers/peer-monoio options=() ;;
    tidegate) program=$peers/peer-tidegate options=(--handlers 3) ;;
    *)
        echo "perf: no server $what" >&2
        exit 2
        ;;
    esac
    start_server -- --cpu 0 "${options[@]}"
    echo "==> recording $what for $seconds s under $connections connections, $window messages of $size bytes each ($event)"
    "$peers/load" --connect "$address" --connections "$connections" --window "$window" --size "$size" \
        --warm-up 0.5 --seconds "$seconds" --cpu 1 --pid "$server" &
    loading=$!
    sleep 0.5
    "${record[@]}" -p "$server" -- sleep "$seconds" || true
    wait "$loading"
    stop_server
fi

mkdir -p target/perf
title="$what"
[[ -n ${BENCH:-} ]] || title="$what: $connections connections, $window × $size B"
perf report -i "$data" --stdio --no-children --percent-limit 0.5 --call-graph none 2>/dev/null |
    grep -v '^#' | grep -v '^$' >"target/perf/$what.txt"
perf script -i "$data" 2>/dev/null | "$peers/flame" "$title" >"target/perf/$what.svg"
head -40 "target/perf/$what.txt"
echo "==> target/perf/$what.txt, target/perf/$what.svg (a flame graph)"
