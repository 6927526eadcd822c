#!/usr/bin/env bash
# The example kv_server against redis-server, by redis-benchmark (`make redis`): requests per second of both and their
# ratio, for -P 1 and -P 16.
#
# Each server has one thread on the first processor, redis-benchmark the second one. The servers take turns within a
# round; the ratio is the median of the rounds'. redis-server runs without persistence, as kv_server does.
# ROUNDS=5 REQUESTS=300000 (times 5 for -P 16) TESTS=ping_mbulk,set,get,incr
# Exit status 1 if a server fails; no ratio is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
program=kv_server
source benches/server.sh

rounds=${ROUNDS:-5}
requests=${REQUESTS:-300000}
tests=${TESTS:-ping_mbulk,set,get,incr}
results=$scratch/results

if (($(nproc) > 1)); then
    on_server=(taskset -c 0)
    on_client=(taskset -c 1)
else
    echo 'one processor: servers and clients share it'
    on_server=()
    on_client=()
fi

echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors, $(uname -sr), $(redis-server --version | cut -d ' ' -f 1-3)"

start_server "${on_server[@]}" -- --threads 1
ours=${address##*:}
theirs=$((ours < 60000 ? ours + 1000 : ours - 1000))
"${on_server[@]}" redis-server --port "$theirs" --bind 127.0.0.1 --save '' --appendonly no --daemonize no >"$scratch/redis.out" &
started+=("$!")
wait_for redis-cli -p "$theirs" ping >"$scratch/pong"

# measure NAME PORT DEPTH ROUND: appends a line per test: depth, test, round, name, requests per second.
measure() {
    local count=$((requests * ($3 > 1 ? 5 : 1)))
    "${on_client[@]}" redis-benchmark -p "$2" -P "$3" -c 50 -n "$count" -r 100000 -d 64 -t "$tests" --csv 2>"$scratch/warnings" |
        awk -F ',' -v depth="$3" -v round="$4" -v name="$1" \
            'NR > 1 { gsub(/"/, ""); split($1, test, " "); print depth, test[1], round, name, $2 }' >>"$results"
}

for ((round = 1; round <= rounds; round++)); do
    for depth in 1 16; do
        echo "round $round of $rounds, -P $depth"
        measure tidegate "$ours" "$depth" "$round"
        measure redis "$theirs" "$depth" "$round"
    done
done

awk '
    function median(text,    parts, n, i, j, t) {
        n = split(text, parts, " ")
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
        return parts[int((n + 1) / 2)]
    }
    {
        key = $1 " " $2
        if (!(key in seen)) { seen[key] = 1; order[++keys] = key }
        rate[key, $3, $4] = $5
        all[key, $4] = all[key, $4] " " $5
        if ($3 > rounds) rounds = $3
    }
    END {
        printf "%-5s %-14s %14s %14s %8s\n", "-P", "test", "kv_server/s", "redis/s", "ratio"
        for (k = 1; k <= keys; k++) {
            key = order[k]
            ratios = ""
            for (r = 1; r <= rounds; r++) ratios = ratios " " rate[key, r, "tidegate"] / rate[key, r, "redis"]
            split(key, parts, " ")
            printf "%-5s %-14s %14.0f %14.0f %8.2f\n", parts[1], parts[2], median(all[key, "tidegate"]), median(all[key, "redis"]), median(ratios)
        }
    }
' "$results"
