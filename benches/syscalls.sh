#!/usr/bin/env bash
# System calls of the server per ping-pong message, counted by strace (`make syscalls`).
#
# The echo server answers one connection that sends 64 bytes, waits for the echo, and sends again. It is
# counted for MESSAGES and for three times as many; the difference leaves out starting, accepting and closing.
# Per message there may be one read, one write and one wait, and no epoll_ctl at all; the small shares above one
# are for turns that found nothing, the share of anything else for allocation and timers.
# Exit status 1 if there is more.
set -euo pipefail
cd "$(dirname "$0")/.."
source benches/server.sh

# So many that the few calls of starting and stopping, which differ from run to run, are lost in them.
messages=${MESSAGES:-10000}

# Calls by name of a server that answers $1 messages, into the file $2.
count() {
    start_server strace -f -c -S name -o "$2" -- --threads 1 --handlers 3
    "$examples/echo_client" --connect "$address" --connections 1 --size 64 --window 1 --messages "$1" >/dev/null
    stop_server
}

echo "counting $messages messages"
count "$messages" "$scratch/few"
echo "counting $((3 * messages)) messages"
count "$((3 * messages))" "$scratch/many"

awk -v messages="$((2 * messages))" '
    # The columns are: % time, seconds, usecs/call, calls, errors (may be empty), syscall.
    $1 ~ /^[0-9.]+$/ && $NF != "total" { calls[$NF] += (FNR == NR ? -1 : 1) * $4 }
    function kind(name) {
        if (name ~ /^(read|readv|recvfrom|recvmsg)$/) return "reads"
        if (name ~ /^(write|writev|sendto|sendmsg)$/) return "writes"
        if (name ~ /^(epoll_wait|epoll_pwait|epoll_pwait2|poll|ppoll)$/) return "waits"
        if (name == "epoll_ctl") return "controls"
        return "others"
    }
    END {
        for (name in calls) {
            each = calls[name] / messages
            if (each > 0.001 || each < -0.001) printf "  %-14s %7.3f per message\n", name, each
            sum[kind(name)] += each
        }
        limit["reads"] = limit["writes"] = 1.01; limit["waits"] = 1.05
        # The two runs may differ by one call at their ends; a call per message would be 1.
        limit["controls"] = 0.001; limit["others"] = 0.002
        count = split("reads writes waits controls others", order, " ")
        for (at = 1; at <= count; at++) {
            what = order[at]
            verdict = sum[what] <= limit[what] ? "ok" : "TOO MANY"
            if (verdict != "ok") failed = 1
            printf "%-8s %7.3f per message, at most %.3f: %s\n", what, sum[what], limit[what], verdict
        }
        exit failed
    }' "$scratch/few" "$scratch/many"
