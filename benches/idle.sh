#!/usr/bin/env bash
# Resident memory of the server per idle connection, and whether all of it comes back (`make idle`).
#
# CONNECTIONS clients connect, have one message echoed through 3 handlers, and fall silent. What the server then
# holds beyond what it held when it had only begun to listen is divided by their number: at most 700 bytes. Pages of the
# program itself do not count: a fresh binary has 70 KiB more of them after its first connections than before.
#
# What a connection takes (64-bit Linux, glibc, an IPv4 peer), with what malloc adds to each block:
#
# | block | bytes | in the heap |
# |---|---|---|
# | the core: state, slot for one event, places of lent parts | 224 | 240 |
# | the pipeline: 5 nodes of 32, for the ends and the 4 handlers (3, and the echo) | 168 | 176 |
# | what every thread may see: state, remote address | 152 | 160 |
# | the transport: descriptor, peer | 24 | 32 |
# | tables of the loop: a registration 32, a handle 16 | 48 | 48 |
#
# Handlers come on top; those of the example have no state and take nothing. The sum is 656. The rest is the receive memory of the
# loop (2), its stack, and the tasks by which the listener's thread has handed the connections over: 3 to 21, by how far it
# was ahead. src/channel/spare.rs tells what an idle channel does without.
#
# When they have gone, CYCLES connections come and go. Afterwards the server must have exactly the descriptors
# that it had before any client, and at most 1 MiB more memory than before the cycles: a leak of 11 bytes per
# connection would show. (What the idle connections took may stay with the allocator for the next ones.)
# Exit status 1 if anything is over its limit.
set -euo pipefail
cd "$(dirname "$0")/.."
source benches/server.sh

connections=${CONNECTIONS:-10000}
cycles=${CYCLES:-100000}
each_max=700
growth_max=$((1024 * 1024))
failed=0
# One descriptor for each connection in the server and in the client, which are processes of their own.
descriptors_max=$(ulimit -Hn)
if [[ $descriptors_max != unlimited ]] && ((descriptors_max < connections + 64)); then
    echo "idle: $connections connections need more than the $descriptors_max descriptors that a process may have here; CONNECTIONS=N makes fewer" >&2
    exit 2
fi
ulimit -n "$descriptors_max"

resident() { awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$server/status"; }
descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
descriptors_are_back() { (($(descriptors) == empty_descriptors)); }

start_server -- --threads 1 --handlers 3
empty=$(resident)
empty_descriptors=$(descriptors)
echo "empty server: $((empty / 1024)) KiB, $empty_descriptors descriptors; connecting $connections clients"
: >"$scratch/client"
"$examples/echo_client" --connect "$address" --connections "$connections" --size 64 --hold forever \
    >"$scratch/client" &
client=$!
started+=("$client")
wait_for grep -q '^holding' "$scratch/client"
full=$(resident)
each=$(((full - empty) / connections))
echo "with $connections idle connections: $((full / 1024)) KiB, $each bytes each, at most $each_max"
((each <= each_max)) || failed=1

kill "$client"
wait "$client" 2>/dev/null || true
wait_for descriptors_are_back
left=$(resident)
echo "when they have gone: $((left / 1024)) KiB; connecting and closing $cycles times"
"$examples/echo_client" --connect "$address" --connections 64 --size 64 --cycles "$cycles"
wait_for descriptors_are_back
growth=$(($(resident) - left))
echo "after that: $(descriptors) descriptors, $((growth / 1024)) KiB more, at most $((growth_max / 1024))"
((growth <= growth_max)) || failed=1

if ((failed)); then
    echo 'idle: over the limit' >&2
    exit 1
fi
