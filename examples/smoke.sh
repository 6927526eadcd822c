#!/usr/bin/env bash
# Runs every example that was built, against each other, and checks what comes out: `make examples`.
set -euo pipefail

cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release/examples
deadline=20
logs=$(mktemp -d)
started=()

finish() {
	local status=$?
	trap - EXIT
	local pid
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	if ((status != 0)); then
		tail -n 20 "$logs"/* >&2 || true
	fi
	rm -rf "$logs"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
	echo "smoke: $*" >&2
	exit 1
}

# built NAME: whether there is such an example; says so if there is not.
built() {
	[[ -x $bin/$1 ]] || {
		echo "-- $1 was not built"
		return 1
	}
}

# wait_for FILE PATTERN: until a line matches.
wait_for() {
	local end=$((SECONDS + deadline))
	until grep -qE -- "$2" "$1" 2>/dev/null; do
		((SECONDS < end)) || fail "no line with '$2' in $(basename "$1") within $deadline s"
		sleep 0.05
	done
}

# serve NAME ARGUMENTS: starts a server and leaves its address in $address.
serve() {
	local name=$1
	shift
	rm -f "$logs/$name.log" # of one that was started before
	"$bin/$name" "$@" >"$logs/$name.log" 2>&1 &
	started+=($!)
	wait_for "$logs/$name.log" '^listening on '
	address=$(sed -n 's/^listening on //p' "$logs/$name.log" | head -n 1)
}

# run NAME ARGUMENTS: runs a program to its end, which must be a good one.
run() {
	local name=$1
	shift
	timeout "$deadline" "$bin/$name" "$@" >"$logs/$name.log" 2>&1 ||
		fail "$name $* ended with status $? (124: not within $deadline s)"
}

# hears FD TEXT: the next line from a connection.
hears() {
	local line
	IFS= read -r -t "$deadline" -u "$1" line || fail "nothing heard, expected: $2"
	line=${line%$'\r'}
	[[ $line =~ $2 ]] || fail "heard '$line', expected: $2"
}

first() {
	run first
	grep -q '^identical' "$logs/first.log" || fail 'first does not say that the bytes are identical'
	run first Cargo.toml
	if timeout "$deadline" "$bin/first" no-such-file >"$logs/first.log" 2>&1; then
		fail 'first succeeds with a file that does not exist'
	fi
	grep -q 'no-such-file' "$logs/first.log" || fail 'first does not name the file that it misses'
}

discard() {
	serve discard --port 0
	timeout "$deadline" head -c 1000000 /dev/zero >"/dev/tcp/${address%:*}/${address##*:}"
	wait_for "$logs/discard.log" ' 1000000 bytes in all'
}

telnet_chat() {
	serve telnet_chat --port 0
	local ada bob
	exec {ada}<>"/dev/tcp/${address%:*}/${address##*:}"
	hears "$ada" '^you are #[0-9]+; 1 in the room$'
	exec {bob}<>"/dev/tcp/${address%:*}/${address##*:}"
	hears "$bob" '^you are #[0-9]+; 2 in the room$'
	hears "$ada" '^#[0-9]+ joined$'
	# A line in two parts and a line that ends as telnet's do.
	printf 'good ' >&"$ada"
	printf 'morning\nhow are you\r\n' >&"$ada"
	hears "$bob" '^#[0-9]+: good morning$'
	hears "$bob" '^#[0-9]+: how are you$'
	# A line without an end.
	head -c 5000 /dev/zero | tr '\0' x >&"$bob"
	hears "$bob" '^sorry: a line may have 4096 bytes$'
	hears "$ada" '^#[0-9]+ left$'
	exec {ada}>&- {bob}>&-
}

echo_server() {
	serve echo_server --port 0
	run echo_client --connect "$address" --connections 8 --size 1024 --window 4 --messages 2000
}

tcp_proxy() {
	serve echo_server --port 0
	serve tcp_proxy --listen 127.0.0.1:0 --to "$address"
	run echo_client --connect "$address" --connections 8 --size 16384 --window 4 --messages 500
}

embedded_loop() {
	run embedded_loop
}

# check NAME NEEDED...: runs the function of that name if all the programs that it needs were built.
check() {
	local needed
	for needed in "$@"; do
		built "$needed" || return 0
	done
	# Not behind && or in an if: that would switch off set -e inside.
	"$1"
	echo "ok $1"
}

check first
check discard
check telnet_chat
check echo_server echo_client
check tcp_proxy echo_server echo_client
check embedded_loop
