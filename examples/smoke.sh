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

# serve NAME ARGUMENTS: starts a server, leaves its address in $address and its process in $server.
serve() {
	local name=$1
	shift
	rm -f "$logs/$name.log" # of one that was started before
	"$bin/$name" "$@" >"$logs/$name.log" 2>&1 &
	server=$!
	started+=("$server")
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

# fails TEXT NAME ARGUMENTS: runs a program that must fail by itself, and say TEXT.
fails() {
	local text=$1 name=$2 status=0
	shift 2
	timeout "$deadline" "$bin/$name" "$@" >"$logs/$name.failed.log" 2>&1 || status=$?
	((status == 1)) || fail "$name $* ended with status $status instead of 1"
	grep -q 'at fault: ' "$logs/$name.failed.log" || fail "$name $* does not say who is at fault"
	grep -qE -- "$text" "$logs/$name.failed.log" || fail "$name $* does not say '$text'"
}

# stop PROCESS: asks a program to end, which it must do well.
stop() {
	local status=0 end=$((SECONDS + deadline))
	kill "$1"
	while kill -0 "$1" 2>/dev/null; do
		((SECONDS < end)) || fail "still there $deadline s after SIGTERM"
		sleep 0.02
	done
	wait "$1" || status=$?
	((status == 0)) || fail "status $status after SIGTERM"
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
	stop "$server"
	wait_for "$logs/discard.log" '^forgot 1000000 bytes in all'
}

logging() {
	serve logging --port 0
	local client
	exec {client}<>"/dev/tcp/${address%:*}/${address##*:}"
	printf 'hello\n' >&"$client"
	hears "$client" '^hello$'
	wait_for "$logs/logging.log" 'DEBUG tidegate::handler::logging::handler: read 6 bytes'
	printf 'oops\n' >&"$client"
	wait_for "$logs/logging.log" 'WARN tidegate::channel.* error=the peer said oops'
	exec {client}>&-
	stop "$server"
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
	stop "$server"
	hears "$ada" '^the room closes$'
	exec {ada}>&- {bob}>&-
}

kv_server() {
	serve kv_server --port 0
	local client
	exec {client}<>"/dev/tcp/${address%:*}/${address##*:}"
	# As people type it, as libraries send it, and both pipelined.
	printf 'SET greeting hello\r\n' >&"$client"
	hears "$client" '^\+OK$'
	printf '*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\nINCR n\nINCR n\nINCR greeting\nDEL n x\n' >&"$client"
	hears "$client" '^\$5$'
	hears "$client" '^hello$'
	hears "$client" '^:1$'
	hears "$client" '^:2$'
	hears "$client" '^-ERR value is not an integer'
	hears "$client" '^:1$'
	printf '*1\r\n:3\r\n' >&"$client"
	hears "$client" '^-ERR Protocol error: expected'
	exec {client}>&-
	stop "$server"
}

rpc_server() {
	serve rpc_server --port 0 --delay-ms 5
	local first=$server caller
	run rpc_client --connect "$address" --requests 1000 --size 1000
	grep -qE '^1000 answers in .* [1-9][0-9]* out of order, 1 connections, 0 sent anew' "$logs/rpc_client.log" ||
		fail 'rpc_client: not what was expected'
	# The server goes away in the middle, and comes back where it was.
	"$bin/rpc_client" --connect "$address" --requests 20000 >"$logs/rpc_client.log" 2>&1 &
	caller=$!
	started+=("$caller")
	sleep 0.2
	kill -KILL "$first"
	wait "$first" || true
	serve rpc_server --port "${address##*:}" --delay-ms 5
	wait "$caller" || fail 'rpc_client did not get over the loss of its server'
	grep -qE '^20000 answers' "$logs/rpc_client.log" || fail 'rpc_client: answers are missing'
	stop "$server"
	fails 'what to do: .*start the server' rpc_client --connect "$address" --attempts 2
}

echo_server() {
	local backend
	# Both are there on every system that CI knows.
	for backend in epoll poll; do
		serve echo_server --port 0 --threads 2 --handlers 2 --backend "$backend"
		run echo_client --connect "$address" --connections 8 --size 1024 --window 4 --messages 2000
		run echo_client --connect "$address" --connections 2 --size 5000000 --messages 2
		run echo_client --connect "$address" --connections 4 --cycles 100
		run echo_client --connect "$address" --connections 10 --hold 0
		stop "$server"
		wait_for "$logs/echo_server.log" '^served 120 connections$'
	done
	fails 'what to do: .*start the server' echo_client --connect "$address"
	serve echo_server --port 0 --boss 2
	run echo_client --connect "$address" --connections 4
	stop "$server"
	serve echo_server --port 0
	fails 'what to do: .*another program has this port' echo_server --port "${address##*:}"
	stop "$server"
}

tcp_proxy() {
	serve echo_server --port 0
	local behind=$server
	serve tcp_proxy --listen 127.0.0.1:0 --to "$address"
	run echo_client --connect "$address" --connections 8 --size 16384 --window 4 --messages 500
	stop "$behind"
	fails 'the server closed a connection|reset' echo_client --connect "$address"
	wait_for "$logs/tcp_proxy.log" 'nobody listens there'
	stop "$server"
}

unix_echo() {
	serve unix_echo --path "$logs/echo.sock"
	local answer
	answer=$(timeout "$deadline" "$bin/unix_echo" --ask "$address" --text 'over a file')
	[[ $answer == 'over a file' ]] || fail "unix_echo answers '$answer'"
	wait_for "$logs/unix_echo.log" "of user $(id -u)\$"
	# One that is alive keeps its file; one that was killed leaves it, and the next server takes it.
	fails 'address in use|in use' unix_echo --path "$address"
	kill -KILL "$server"
	wait "$server" || true
	[[ -S $address ]] || fail 'a killed server leaves no file, which the next check needs'
	serve unix_echo --path "$address"
	stop "$server"
	[[ ! -e $address ]] || fail 'unix_echo leaves its file'
}

fd_passing() {
	serve fd_passing --take "$logs/handover.sock"
	local worker=$server client
	serve fd_passing --port 0 --give "$logs/handover.sock"
	exec {client}<>"/dev/tcp/${address%:*}/${address##*:}"
	hears "$client" "^process $worker serves you\$"
	# The process that accepted the connection ends; the other one goes on.
	stop "$server"
	printf 'still there\n' >&"$client"
	hears "$client" '^still there$'
	exec {client}>&-
	stop "$worker"
}

syslog() {
	serve syslog --port 0 --path "$logs/log.sock"
	wait_for "$logs/syslog.log" '^listening on .*/log.sock$'
	printf '<34>1 2003-10-11T22:14:15.003Z host su 7 ID47 [a b="c"] over the network' \
		>"/dev/udp/${address%:*}/${address##*:}"
	wait_for "$logs/syslog.log" '^2003-10-11T22:14:15.003Z host su\[7\] 4.critical ID47 a.b="c": over the network$'
	printf 'no syslog' >"/dev/udp/${address%:*}/${address##*:}"
	wait_for "$logs/syslog.log" '^malformed, from 127.0.0.1:[0-9]+: at byte 0'
	if command -v logger >/dev/null; then
		logger --rfc5424=notime,notq,nohost --tag smoke --priority user.info --socket "$logs/log.sock" 'over the machine'
		wait_for "$logs/syslog.log" '^- - smoke\[.*\] 1.info: over the machine$'
	fi
	stop "$server"
	[[ ! -e $logs/log.sock ]] || fail 'syslog leaves its file'
}

udp_quote_server() {
	serve udp_quote_server --port 0 --interface lo
	local port=${address##*:}
	run udp_quote_client --ask "127.0.0.1:$port"
	grep -qE "^127.0.0.1:$port: .* tide" "$logs/udp_quote_client.log" || fail 'udp_quote_client: no quote'
	# Whatever comes, it goes on.
	printf 'quote' >"/dev/udp/127.0.0.1/$port"
	printf '\xff\xfe' >"/dev/udp/127.0.0.1/$port"
	head -c 1000 /dev/zero >"/dev/udp/127.0.0.1/$port"
	wait_for "$logs/udp_quote_server.log" '^ignored: .*more than 64 bytes'
	# Whoever is there.
	run udp_quote_client --port "$port" --interface lo
	grep -qE ":$port: " "$logs/udp_quote_client.log" || fail 'udp_quote_client: nobody was found by multicast'
	stop "$server"
	fails '0 of 1 answers' udp_quote_client --port "$port" --interface lo --wait-ms 300
}

stdin_client() {
	serve echo_server --port 0
	# What is piped in comes back, all of it, and the program ends by itself.
	seq 1 200000 >"$logs/numbers"
	timeout "$deadline" "$bin/stdin_client" --connect "$address" <"$logs/numbers" >"$logs/stdin_client.log" ||
		fail "stdin_client ended with status $?"
	cmp "$logs/numbers" "$logs/stdin_client.log" || fail 'stdin_client: not what was sent'
	printf 'one\ntwo\n' | timeout "$deadline" "$bin/stdin_client" --connect "$address" >"$logs/stdin_client.log" ||
		fail "stdin_client ended with status $?"
	[[ $(<"$logs/stdin_client.log") == $'one\ntwo' ]] || fail 'stdin_client: not what was typed'
	stop "$server"
	fails 'what to do: .*start the server' stdin_client --connect "$address"
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
check logging
check telnet_chat
check kv_server
check rpc_server rpc_client
check echo_server echo_client
check tcp_proxy echo_server echo_client
check unix_echo
check fd_passing
check syslog
check udp_quote_server udp_quote_client
check stdin_client echo_server
check embedded_loop
