#!/usr/bin/env bash
# Resident memory of the server per idle connection (`make idle`).
#
# CONNECTIONS clients connect, have one message echoed through 3 handlers, and fall silent. What the server then
# holds beyond what it held when it had only begun to listen is divided by their number.
# Exit status 1 above 1,000 bytes each.
set -euo pipefail
cd "$(dirname "$0")/.."
source benches/server.sh

connections=${CONNECTIONS:-10000}
limit=1000
ulimit -n "$(ulimit -Hn)"

resident() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$server/status"; }

start_server -- --threads 1 --handlers 3
empty=$(resident)
echo "empty server: $((empty / 1024)) KiB; connecting $connections clients"
"$examples/echo_client" --connect "$address" --connections "$connections" --size 64 --messages 1 --hold \
    >"$scratch/client" &
started+=($!)
wait_for grep -q '^holding' "$scratch/client"
full=$(resident)
each=$(((full - empty) / connections))
echo "with $connections idle connections: $((full / 1024)) KiB, $each bytes each, at most $limit"
((each <= limit))
