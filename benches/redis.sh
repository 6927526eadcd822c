#!/usr/bin/env bash
# The example kv_server against redis-server, by redis-benchmark (`make redis`): requests per second and processor time per
# request of both and their ratios, for -P 1 and -P 16.
#
# Each server has one thread on the first processor, redis-benchmark the second one. The servers take turns within a
# round; a ratio is the median of the rounds'. redis-server runs without persistence, as kv_server does.
# Where redis-benchmark is the slower of the two, requests per second say how well answers suit it, and processor time (user and
# system, by /proc, in steps of 10 ms) says what a server costs. Where that is less than a step there is no ratio of it.
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
rival=$!
started+=("$rival")
wait_for redis-cli -p "$theirs" ping >"$scratch/pong"

# ticks PROCESS: its processor time so far, in ticks of the kernel's clock.
ticks() {
    local stat
    stat=$(<"/proc/$1/stat")
    # Behind the name, which may have spaces in it; the times are the 14th and 15th field.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    echo $((${12} + ${13}))
}

tick=$((1000000 / $(getconf CLK_TCK)))

# measure NAME PORT PROCESS DEPTH ROUND: appends a line per test: depth, test, round, name, requests per second, microseconds of
# the server's processor time per request.
measure() {
    local count=$((requests * ($4 > 1 ? 5 : 1))) test before
    for test in ${tests//,/ }; do
        before=$(ticks "$3")
        "${on_client[@]}" redis-benchmark -p "$2" -P "$4" -c 50 -n "$count" -r 100000 -d 64 -t "$test" --csv 2>"$scratch/warnings" >"$scratch/csv"
        awk -F ',' -v depth="$4" -v round="$5" -v name="$1" -v spent="$((($(ticks "$3") - before) * tick))" -v count="$count" \
            'NR > 1 { gsub(/"/, ""); split($1, test, " "); print depth, test[1], round, name, $2, spent / count }' "$scratch/csv" >>"$results"
    done
}

for ((round = 1; round <= rounds; round++)); do
    for depth in 1 16; do
        echo "round $round of $rounds, -P $depth"
        measure tidegate "$ours" "$server" "$depth" "$round"
        measure redis "$theirs" "$rival" "$depth" "$round"
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
        cpu[key, $3, $4] = $6
        rates[key, $4] = rates[key, $4] " " $5
        cpus[key, $4] = cpus[key, $4] " " $6
        if ($3 > rounds) rounds = $3
    }
    END {
        printf "%-5s %-12s %12s %12s %8s   %12s %12s %8s\n", "-P", "test", "kv_server/s", "redis/s", "ratio", "kv_server us", "redis us", "ratio"
        for (k = 1; k <= keys; k++) {
            key = order[k]
            faster = cheaper = ""
            for (r = 1; r <= rounds; r++) {
                faster = faster " " rate[key, r, "tidegate"] / rate[key, r, "redis"]
                if (cpu[key, r, "redis"] > 0) cheaper = cheaper " " cpu[key, r, "tidegate"] / cpu[key, r, "redis"]
            }
            split(key, parts, " ")
            printf "%-5s %-12s %12.0f %12.0f %8.2f   %12.2f %12.2f %8s\n", parts[1], parts[2], \
                median(rates[key, "tidegate"]), median(rates[key, "redis"]), median(faster), \
                median(cpus[key, "tidegate"]), median(cpus[key, "redis"]), cheaper == "" ? "-" : sprintf("%.2f", median(cheaper))
        }
    }
' "$results"
