#!/usr/bin/env bash
# Puts known bugs back, one at a time, and prints a table: the family (B1 to B11), the bug, the first of the seeds 0, 1, 2, …
# of the simulator that finds it, and what the model said.
#
#   MUTANTS='name...' SEEDS=n tests/sim/mutants.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/mutants
export RUSTFLAGS='--cfg tidegate_mutants'
most=${SEEDS:-100000}
families=11

"${CARGO:-cargo}" test --quiet --release --features sim --test sim --no-run
known=$(grep -rhoE 'is_mutant\("[^"]+"\)' src | cut -d'"' -f2 | sort -uV)
wrong=0
for family in $(seq "$families"); do
	if ! grep -q "^B$family-" <<<"$known"; then
		echo "B$family: no bug of this family is put back"
		wrong=1
	fi
done
echo '| family | bug | found by seed | what it does |'
echo '|---|---|---|---|'
for mutant in ${MUTANTS:-$known}; do
	report=$(MUTANT=$mutant FAILURES=1 SEEDS=$most timeout 300 "${CARGO:-cargo}" test --quiet --release --features sim \
		--test sim random_programs -- --nocapture 2>&1 || true)
	seed=$(grep -oE '^seed [0-9]+ ' <<<"$report" | head -1 | cut -d' ' -f2 || true)
	what=$(grep -A1 -E '^seed [0-9]+ ' <<<"$report" | tail -1 | sed 's/^ *//' || true)
	if [[ -z $seed ]]; then
		seed="none of $most"
		wrong=1
	fi
	echo "| ${mutant%%-*} | ${mutant#*-} | $seed | $what |"
done
[[ $wrong == 0 ]]
