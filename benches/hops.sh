#!/usr/bin/env bash
# Instructions per hop: what one more handler costs an event, counted by callgrind (`make hops`).
#
# The benchmark `hops CASE HANDLERS EVENTS` sends EVENTS events through a pipeline of HANDLERS handlers. Each case is
# run with two counts of events, so that starting and filling the pipeline cancels out, and with 3 and 13 handlers: a
# hop is a tenth of what an event costs more there. Counted instructions, unlike times, are the same on a busy machine.
#
# Cases: inbound (a read with its message), bare (an event without one), outbound (a write), flush, skipped (a
# handler that does not override the callback). Exit status 1 if a case is over its limit.
set -euo pipefail
cd "$(dirname "$0")/.."

events=${EVENTS:-5000}
limits='inbound 56 60
bare 40 40
outbound 40 40
flush 40 40
skipped 6 6'

binary=$(cargo build --release --bench hops --message-format=json 2>/dev/null |
    grep -o '"executable":"[^"]*/hops-[^"]*"' | cut -d '"' -f 4)

# Instructions of one whole run.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        awk '/Collected :/ { print $4; found = 1 } END { exit !found }'
}

# Instructions per event with this many handlers.
per_event() {
    local once twice
    once=$(count "$1" "$2" "$events")
    twice=$(count "$1" "$2" "$((2 * events))")
    awk -v once="$once" -v twice="$twice" -v events="$events" 'BEGIN { printf "%.2f", (twice - once) / events }'
}

printf '%-10s %12s %12s %8s %6s %5s\n' case '3 handlers' '13 handlers' 'per hop' limit goal
failed=0
while read -r name limit goal; do
    few=$(per_event "$name" 3)
    many=$(per_event "$name" 13)
    hop=$(awk -v few="$few" -v many="$many" 'BEGIN { printf "%.1f", (many - few) / 10 }')
    printf '%-10s %12s %12s %8s %6d %5d\n' "$name" "$few" "$many" "$hop" "$limit" "$goal"
    awk -v hop="$hop" -v limit="$limit" 'BEGIN { exit !(hop > limit) }' && failed=1
done <<<"$limits"

if ((failed)); then
    echo 'hops: over the limit' >&2
    exit 1
fi
