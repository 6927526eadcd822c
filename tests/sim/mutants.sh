#!/usr/bin/env bash
# Puts known bugs back, one at a time, and prints the first seed of the simulator that finds each.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/mutants
export RUSTFLAGS='--cfg tidegate_mutants'
most=${SEEDS:-100000}

"${CARGO:-cargo}" test --quiet --release --features sim --test sim --no-run
mutants=${MUTANTS:-$(grep -rhoE 'is_mutant\("[^"]+"\)' src | cut -d'"' -f2 | sort -uV)}
missed=0
for mutant in $mutants; do
	report=$(MUTANT=$mutant FAILURES=1 SEEDS=$most timeout 300 "${CARGO:-cargo}" test --quiet --release --features sim \
		--test sim random_programs -- --nocapture 2>&1 || true)
	seed=$(grep -oE '^seed [0-9]+ ' <<<"$report" | head -1 || true)
	what=$(grep -A1 -E '^seed [0-9]+ ' <<<"$report" | tail -1 | sed 's/^ *//' || true)
	if [[ -n $seed ]]; then
		echo "$mutant: $seed: $what"
	else
		echo "$mutant: not found in $most seeds"
		missed=$((missed + 1))
	fi
done
[[ $missed == 0 ]]
