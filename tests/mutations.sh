#!/usr/bin/env bash
# Are the tests awake? Applies one-line faults to a copy of the source, one after the other, and expects the test that
# pins the rule to fail: `make mutations`. Ends with a table, and with status 1 if a fault was missed, no longer
# applies or does not compile. `tests/mutations.sh TEXT` does only those whose test has TEXT in its name. A copy and its build are kept in target/mutations; a test that hangs counts as failed.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
copy=$root/target/mutations/source
export CARGO_TARGET_DIR=$root/target/mutations/build
# Longer than any deadline in a test.
patience=100
log=$root/target/mutations/log
only=${1:-}
total=0
number=0
missed=0
table=()
checking=1

# run_test PACKAGE TARGET TEST: "passed", "failed", "hung" or "broken" (does not compile, or is not there).
run_test() {
	local target=($2) status=0
	if ! (cd "$copy" && cargo test --quiet --package "$1" "${target[@]}" --no-run) >"$log" 2>&1; then
		echo broken
		return
	fi
	(cd "$copy" && timeout "$patience" cargo test --package "$1" "${target[@]}" -- --exact "$3") >"$log" 2>&1 || status=$?
	if ((status == 124)); then
		echo hung
	elif grep -q "^test $3 \.\.\. ok" "$log"; then
		echo passed
	elif grep -q "^test $3 .*FAILED" "$log" || ((status > 128)); then
		echo failed
	else
		echo broken
	fi
}

# mutation RULE FILE FROM TO PACKAGE TARGET TEST. FROM is text that the file has once.
mutation() {
	local rule=$1 file=$2 from=$3 to=$4 package=$5 target=$6 test=$7
	local before after line verdict
	[[ $test == *"$only"* ]] || return 0
	((checking)) && total=$((total + 1))
	before=$(<"$root/$file")
	after=${before/"$from"/"$to"}
	if [[ $after == "$before" || ${before#*"$from"} == *"$from"* ]]; then
		verdict='does not apply: the text is not there once'
		line='?'
	else
		line=$(wc -l <<<"${before%%"$from"*}x")
		if ((checking)); then
			verdict=$(run_test "$package" "$target" "$test")
			[[ $verdict == passed ]] && return 0
			verdict="$verdict without the fault"
		else
			number=$((number + 1))
			printf '[%2d/%d] %s:%s, %s\n' "$number" "$total" "$file" "$line" "$test"
			printf '%s\n' "$after" >"$copy/$file"
			verdict=$(run_test "$package" "$target" "$test")
			printf '%s\n' "$before" >"$copy/$file"
			case $verdict in
			failed) verdict=caught ;;
			hung) verdict='caught (hung)' ;;
			passed) verdict=MISSED ;;
			broken) verdict='BROKEN: does not compile' ;;
			esac
		fi
	fi
	[[ $verdict == caught* ]] || missed=$((missed + 1))
	table+=("$rule | $file:$line: \`${from#"${from%%[![:space:]]*}"}\` -> \`${to#"${to%%[![:space:]]*}"}\` | $test | $verdict")
	echo "        $verdict"
}

all() {
	mutation '6.6 the root queue is a FIFO' src/channel/root.rs \
		'roots.0.push_back(root)' 'roots.0.push_front(root)' \
		tidegate '--test pipeline' roots::listeners_run_after_the_event_in_their_order
	mutation '6.7 a parked resume waits for a read()' src/channel/reading.rs \
		'self.has(flag::AUTO_READ | flag::READ_PENDING | flag::DRAINING)' 'self.has(!0)' \
		tidegate '--test pipeline' resume::auto_read_switched_off_between_two_messages_stops_the_second
	mutation '6.8 what a removed handler emits goes to its old successor' src/channel/nodes.rs \
		'.link_next_like(&node);
        self.retire(&node);' '.link_next_like(&node);
        node.link_next_like(&self.get(self.before(super::node::TAIL))); self.retire(&node);' \
		tidegate '--test pipeline' edits::what_a_removed_handler_emits_goes_to_its_old_successor
	mutation '4, D3 readable is sticky until a read finds nothing' src/channel/reading.rs \
		'        self.clear(flag::READ_PENDING);
        self.enter(' '        self.clear(flag::READ_PENDING | flag::READABLE);
        self.enter(' \
		tidegate '--test channel' reading::a_batch_is_at_most_sixteen_reads_and_others_have_their_turn_before_the_rest
	mutation '4, B8 an event of a dead generation reaches nobody' src/reactor/registry.rs \
		'let is_same = slot.generation == token.generation();' \
		'let is_same = slot.generation >= token.generation();' \
		tidegate --lib reactor::registry::tests::a_new_registration_of_a_slot_never_sees_the_events_of_the_old_one
	mutation '9, A35 data before the end of input is delivered' src/channel/reading.rs \
		'self.seen.set(self.seen.get() | ready);
        if flags' 'self.seen.set(self.seen.get() | ready);
        if ready.intersects(Ready::READ_CLOSED) { return self.enter(Self::end_of_input); }
        if flags' \
		tidegate --lib channel::tests::descriptor::data_before_the_peers_end_is_always_delivered
	mutation '4, C9 an edge goes on with what a full socket did not take' src/channel/reading.rs \
		'ready.intersects(Ready::WRITABLE | Ready::ERROR | Ready::HANGUP)' 'ready.intersects(Ready::ERROR | Ready::HANGUP)' \
		tidegate --lib channel::tests::descriptor::what_a_full_socket_did_not_take_goes_on_when_the_peer_reads
	mutation '8, F a promise that is dropped settles' src/future/inner.rs \
		'self.promises.fetch_sub(1, Ordering::AcqRel) == 1' 'self.promises.fetch_sub(1, Ordering::AcqRel) == 0' \
		tidegate '--test futures' a_dropped_promise_fails_and_frees
	mutation '8, F a promise settles once' src/future/inner.rs \
		'self.try_update(|state| (state & DONE == 0).then_some(state | DONE))
            .ok()' 'self.try_update(|state| (state & DONE <= DONE).then_some(state | DONE))
            .ok()' \
		tidegate '--test futures' the_first_completion_counts
	mutation '5.3 an overdraft of io_ratio is paid back' src/event_loop/budget.rs \
		'self.carry_ns = ns.saturating_sub(spent)' 'self.carry_ns = ns.saturating_sub(spent).max(0)' \
		tidegate --lib event_loop::budget::tests::an_overdraft_is_paid_back_and_savings_are_kept
	mutation '5.7 timers fire by deadline, then by age' src/event_loop/timers.rs \
		'        let seq = self.next_seq;
' '        let seq = self.next_seq ^ 1;
' \
		tidegate --lib event_loop::timers::tests::equal_deadlines_fire_in_the_order_they_were_set
	mutation '3, 5 at most one wake-up for each sleep' sys/src/mem/queue/producer.rs \
		'word.fetch_and(!SLEEPING, AcqRel) & SLEEPING != 0' 'word.load(Acquire) & SLEEPING != 0' \
		tidegate-sys --lib mem::queue::tests::a_wake_is_claimed_without_a_push
}

mkdir -p "$copy"
# Only what changed is written again, so that the next build is a short one. The files of mutations are among them.
tar -c --exclude=./target --exclude=./.git . | tar -x -C "$copy"
echo "the tests without faults: building in $copy"
all
if ((total == 0)); then
	echo "mutations: no test has '$only' in its name" >&2
	exit 1
elif ((missed == 0)); then
	echo "every test passes; $total faults"
	checking=0
	all
fi

echo
echo 'rule | change | test | verdict'
echo '---|---|---|---'
# A change may span lines of the source; a row is one.
for row in "${table[@]}"; do
	echo "$row" | tr -s '\n ' '  '
	echo
done
if ((missed > 0)); then
	echo "mutations: $missed of $total not caught" >&2
	exit 1
fi
echo "mutations: all $total caught"
