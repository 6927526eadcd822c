# Starts and stops a server for the scripts beside this one and in peers/, which source it: $program (a path, or the
# name of an example), or the echo server.
#
# After `start_server [WRAPPER...] -- [OPTIONS...]`, $server is its process and $address where it listens; WRAPPER
# is what it runs under. Everything is stopped and removed when the script ends.

examples=${CARGO_TARGET_DIR:-target}/release/examples
program=${program:-echo_server}
scratch=$(mktemp -d)
started=()

clean_up() {
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap clean_up EXIT

# Waits until $1 (a command with its arguments) succeeds, at most 20 seconds.
wait_for() {
    local deadline=$((SECONDS + 20))
    until "$@"; do
        if ((SECONDS > deadline)); then
            echo "gave up waiting for: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

start_server() {
    local wrapper=()
    while [[ $1 != -- ]]; do
        wrapper+=("$1")
        shift
    done
    shift
    rm -f "$scratch/pid"
    : >"$scratch/out"
    # The shell becomes the server, so that its process is known under any wrapper.
    # shellcheck disable=SC2016
    "${wrapper[@]}" bash -c 'echo $$ >"$0"; exec "$@"' "$scratch/pid" \
        "$([[ $program == */* ]] || echo "$examples/")$program" --port 0 "$@" >"$scratch/out" &
    runner=$!
    started+=("$runner")
    wait_for grep -q 'listening on ' "$scratch/out"
    address=$(sed -n 's/.*listening on \([^ ]*\).*/\1/p' "$scratch/out")
    server=$(<"$scratch/pid")
    started=("$server" "${started[@]}")
}

# Ends the server and waits until whatever it ran under has written its results.
stop_server() {
    kill "$server" 2>/dev/null || true
    wait "$runner" 2>/dev/null || true
}
