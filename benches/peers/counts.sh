#!/usr/bin/env bash
# What each echo server does per message: calls of recv, send and wait counted by strace, and its own instructions
# counted by callgrind (`make counts`; SERVERS="raw tidegate" for some).
#
# Each server answers a number of messages and three times as many; the difference leaves out starting, accepting and
# closing. Counts, unlike times, are the same on a busy machine, but for the share of waits at 64 connections: it
# depends on how many messages have arrived by the time of the next wait. So the bare loop also counts for itself, at
# full speed; those figures are compared with what the bare loop is meant to do.
# At last the lines of memory (64 bytes) and the pages (4 KiB) outside of the kernel that one ping-pong on one connection touches,
# from a trace of lackey. After each sleep the first cache holds little of them: with many connections a wait brings many messages, and
# the instructions count; with one connection the lines do.
#
# Exit status 1 if the bare loop makes 5 % more calls than that, in which case it is no reference.
set -euo pipefail
cd "$(dirname "$0")/../.."
source benches/server.sh

peers=${PEERS_DIR:-target/peers}/release
servers=${SERVERS:-raw mio tokio tokio-lean monoio tidegate}
# Name, connections, messages under way on each, messages of the shorter run.
cases='pp1 1 1 2000
pp64 64 1 6400
pipe1 1 16 16000
pipe64 64 16 51200'
failed=0

# Sets $program and $options of a server by its name in the tables.
choose() {
    options=()
    case $1 in
    tokio) program=$peers/peer-tokio options=(--mode plain) ;;
    tokio-lean) program=$peers/peer-tokio options=(--mode lean) ;;
    tidegate) program=$peers/peer-tidegate options=(--handlers 3) ;;
    *) program=$peers/peer-$1 ;;
    esac
}

load() {
    "$peers/load" --connect "$address" --connections "$connections" --window "$window" --cpu 1 "$@" >/dev/null
}

# Calls of each kind for $1 messages, as "recv send wait other".
calls() {
    start_server strace -f -c -S name -o "$scratch/calls" -- --cpu 0 "${options[@]}"
    load --messages "$1"
    stop_server
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" {
            kind = "other"
            if ($NF ~ /^(read|readv|recvfrom|recvmsg)$/) kind = "recv"
            if ($NF ~ /^(write|writev|sendto|sendmsg)$/) kind = "send"
            if ($NF ~ /^(epoll_wait|epoll_pwait|epoll_pwait2)$/) kind = "wait"
            sum[kind] += $4
        }
        END { printf "%d %d %d %d", sum["recv"], sum["send"], sum["wait"], sum["other"] }' "$scratch/calls"
}

# Instructions outside of the kernel for $1 messages.
instructions() {
    start_server valgrind --trace-children=yes --tool=callgrind --callgrind-out-file=/dev/null --log-file="$scratch/callgrind" \
        -- --cpu 0 "${options[@]}"
    load --messages "$1"
    stop_server
    awk '/Collected :/ { print $4; found = 1 } END { exit !found }' "$scratch/callgrind"
}

# What one message touches, as "code lines, code pages, data lines, data pages": the median over the second half of $1 messages. A turn
# goes from one passage to the next of an instruction that is executed once for each message.
touched() {
    start_server valgrind --trace-children=yes --tool=lackey --trace-mem=yes --log-file="$scratch/trace" -- --cpu 0 "${options[@]}"
    load --messages "$1"
    stop_server
    awk -v messages="$1" '
        function median(of, count, i, j, held) {
            for (i = 2; i <= count; i++) {
                held = of[i]
                for (j = i - 1; j > 0 && of[j] > held; j--) of[j + 1] = of[j]
                of[j + 1] = held
            }
            return of[int((count + 1) / 2)]
        }
        function see(kind, address, line, page) {
            page = kind substr(address, 1, length(address) - 3)
            line = page substr(address, length(address) - 2, 1) int((index("0123456789abcdef", substr(address, length(address) - 1, 1)) - 1) / 4)
            if (!(line in seen)) { seen[line]; lines[kind]++ }
            if (!(page in seen)) { seen[page]; pages[kind]++ }
        }
        $1 !~ /^[ILSM]$/ { next }
        { address = substr($2, 1, index($2, ",") - 1) }
        FNR == NR { if ($1 == "I") passed[address]++; next }
        FNR == 1 || !turn_begins {
            for (each in passed)
                if (passed[each] >= messages && passed[each] <= messages + 12 && (turn_begins == "" || each < turn_begins)) turn_begins = each
            if (turn_begins == "") exit 1
        }
        $1 == "I" && address == turn_begins {
            if (++turns > messages / 2 && turns < messages) {
                count++
                a[count] = lines["I"]; b[count] = pages["I"]; c[count] = lines["D"]; d[count] = pages["D"]
            }
            split("", seen); split("", lines); split("", pages)
        }
        turns >= messages / 2 - 1 { see($1 == "I" ? "I" : "D", address) }
        END { if (!count) exit 1; printf "%d %d %d %d\n", median(a, count), median(b, count), median(c, count), median(d, count) }
    ' "$scratch/trace" "$scratch/trace"
    rm "$scratch/trace"
}

printf '%-8s %-12s %7s %7s %7s %7s %13s   per message\n' load server recv send wait other instructions
while read -r name connections window messages; do
    for server_name in $servers; do
        choose "$server_name"
        calls "$messages" >"$scratch/few"
        calls "$((3 * messages))" >"$scratch/many"
        few=$(instructions "$messages")
        many=$(instructions "$((3 * messages))")
        paste -d ' ' "$scratch/few" "$scratch/many" |
            awk -v load="$name" -v server="$server_name" -v messages="$((2 * messages))" -v few="$few" -v many="$many" '{
                printf "%-8s %-12s %7.3f %7.3f %7.3f %7.3f %13.1f\n", load, server, ($5 - $1) / messages,
                    ($6 - $2) / messages, ($7 - $3) / messages, ($8 - $4) / messages, (many - few) / messages
            }'
    done
done <<<"$cases"

echo
printf '%-8s %-12s %7s %7s %7s %7s   per message, of lines and pages\n' load server code pages data pages
connections=1 window=1
for server_name in $servers; do
    choose "$server_name"
    touched 400 >"$scratch/touched"
    read -r code code_pages data data_pages <"$scratch/touched"
    printf '%-8s %-12s %7d %7d %7d %7d\n' pp1 "$server_name" "$code" "$code_pages" "$data" "$data_pages"
done

# At full speed, by its own counters. A window is answered by one recv and one send; with 64 connections a wait brings
# 25 to 50 of them, with one connection one.
echo
echo 'the bare loop at full speed'
choose raw
while read -r name connections window messages; do
    start_server -- --cpu 0 --mode count
    load --messages "$((20 * messages))"
    wait_for grep -q '^recv ' "$scratch/out"
    stop_server
    awk -v load="$name" -v messages="$((20 * messages))" -v window="$window" -v connections="$connections" '/^recv / {
        each = 1 / window
        waits = connections == 1 ? each : 0.04 * each
        # One wait for each connection that came or went, at most.
        slack = 2 * connections / messages
        ok = $2 / messages <= 1.05 * each + slack && $4 / messages <= 1.05 * each + slack
        few = $6 / messages <= 1.05 * waits + slack
        printf "%-8s %-12s %7.3f %7.3f %7.3f   meant: %.3f, %.3f, at most %.4f: %s%s\n", load, "raw", $2 / messages,
            $4 / messages, $6 / messages, each, each, waits, ok ? "ok" : "TOO MANY",
            few ? "" : ", but more waits (is the machine busy?)"
        exit !ok
    }' "$scratch/out" || failed=1
done <<<"$cases"

if ((failed)); then
    echo 'counts: the bare loop makes too many calls' >&2
    exit 1
fi
