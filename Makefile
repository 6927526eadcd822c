# Every command of the project. `make` alone lists them; `make run` and `make test` are the two to know.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The file that `make run` sends; empty means that the program makes one up.
FILE ?=
# What `make bench` runs (a name from benches/, empty for all), and whether under perf.
BENCH ?=
PERF ?=
# What `make perf` records (a server as in docs/bench/, its load, how many seconds), and options for `make bench-peers` and
# `make sweep`.
SERVER ?=
LOAD ?=
TIME ?=
COMPARE ?=
SWEEP ?=
# Set by .ci/run when `make test` has just passed, so that one run of CI does not test twice.
TESTED ?=

CARGO ?= cargo
export BENCH SERVER LOAD TIME CARGO

# The other libraries are a workspace of their own (see its Cargo.toml).
PEERS := --manifest-path benches/peers/Cargo.toml --target-dir target/peers
# The tests that need the simulated kernel.
SIM := --package tidegate --package tidegate-sys --features sim --test sim

# $(call need,COMMAND,PACKAGE) installs a Debian package, only if the command that it brings is missing.
define need
	command -v $(1) >/dev/null || { \
		echo "==> $(1) is missing: installing Debian's package $(2)"; \
		[[ $$(id -u) == 0 ]] && as_root= || as_root=sudo; \
		$$as_root apt-get update -qq; \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
	}
endef

.PHONY: help run test ci fmt fmt-check clippy doc targets loom examples hops allocs syscalls bench bench-peers
.PHONY: sweep counts peers perf queue idle mutations fuzz redis sim mutants kqueue asan valgrind trouble clean

help: ## this list
	@echo 'Tidegate: make <target> [VARIABLE=value]'
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile

run: ## the first program: a file goes to an echo server and back, compared byte for byte (FILE=path)
	@$(CARGO) run --release --example first -- $(if $(FILE),"$(FILE)")

test: ## every test of the workspace, and how many there were
	@mkdir -p target
	@{ $(CARGO) test --workspace && $(CARGO) test $(SIM) && $(CARGO) test --features log --test log; } 2>&1 | tee target/test.log
	@awk '/^test result:/ { suites++; passed += $$4; failed += $$6; ignored += $$8 } \
		END { printf "==> %d tests passed, %d failed, %d ignored, in %d suites\n", passed, failed, ignored, suites }' \
		target/test.log

sim: ## random programs on a simulated kernel (SEEDS=10000, STEPS=200; SEED=7 for one, its log in target/sim.log)
	@sys/without-sim.sh
	@SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release $(SIM) -- --nocapture

mutants: ## known bugs put back one at a time, and the seed that finds each (not part of ci)
	@tests/sim/mutants.sh

# Cargo has a place of its own for each of these, since their flags differ.
kqueue: ## the kqueue backend on Linux: every suite over a kqueue made of epoll sets (not part of ci: it builds everything anew)
	@RUSTFLAGS='--cfg tidegate_kqueue_fake' CARGO_TARGET_DIR=target/kqueue \
		$(CARGO) test --workspace --lib --tests

asan: ## the unsafe code of sys under AddressSanitizer (needs a nightly toolchain; not part of ci)
	@sys/memory.sh asan

valgrind: ## the unsafe code of sys under valgrind's memcheck (not part of ci)
	@$(call need,valgrind,valgrind)
	@sys/memory.sh valgrind

ci: ## exactly what CI runs: format, lints, docs, tests, other targets, examples, counted costs, idle memory, the simulation
	@started=$$SECONDS; \
	for step in fmt-check clippy doc $(if $(TESTED),,test) sim targets examples hops allocs syscalls idle; do \
		echo "==> make $$step"; \
		begun=$$SECONDS; \
		$(MAKE) $$step; \
		echo "==> make $$step: ok, $$((SECONDS - begun)) s"; \
	done; \
	echo "==> make ci: ok, $$((SECONDS - started)) s"

fmt: ## format the source
	@$(CARGO) fmt --all
	@$(CARGO) fmt --manifest-path benches/peers/Cargo.toml

fmt-check: ## fail if the source is not formatted
	@$(CARGO) fmt --all -- --check

clippy: ## lints, warnings refused
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(CARGO) clippy --features tokio-codec -- -D warnings
	@$(CARGO) clippy --workspace --all-targets --features sim -- -D warnings

doc: ## the reference in target/doc, warnings refused
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --features tidegate/tokio-codec

targets: ## type-check and lint both crates for FreeBSD, OpenBSD, NetBSD and macOS
	@sys/targets.sh

loom: ## the task queue, promises, sleeping loops and what their watcher sees in every interleaving with a few preemptions (minutes; not part of ci)
	@mkdir -p target
	@export RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom; \
	{ $(CARGO) test --package tidegate-sys --release --lib mem:: && \
		$(CARGO) test --package tidegate --release --lib model::loom_; } 2>&1 | tee target/loom.log
	@! grep -q '^running 0 tests' target/loom.log || { echo 'loom: no tests were found'; exit 1; }

examples: ## run every example once, against each other
	@$(CARGO) build --release --examples
	@examples/smoke.sh

hops: ## instructions per hop of a pipeline, counted by callgrind, against their limits
	@$(call need,valgrind,valgrind)
	@$(CARGO) build --release --bench hops
	@benches/hops.sh

allocs: ## allocations per message, against their limits
	@$(CARGO) test --release --test allocations -- --nocapture

syscalls: ## system calls per ping-pong message, counted by strace, against their limits
	@$(call need,strace,strace)
	@$(CARGO) build --release --examples
	@benches/syscalls.sh

redis: ## the example kv_server against redis-server, by redis-benchmark (ROUNDS=5)
	@$(call need,redis-server,redis-server)
	@$(call need,redis-benchmark,redis-tools)
	@$(CARGO) build --release --example kv_server
	@benches/redis.sh

idle: ## resident bytes per idle connection, and whether they come back (CONNECTIONS=10000 CYCLES=100000)
	@$(CARGO) build --release --examples
	@benches/idle.sh

trouble: ## figures under trouble against their limits, some minutes (CASE=limit|timers|slow|ends SECONDS=60)
	@$(CARGO) bench --bench trouble -- $(or $(CASE),all) $(or $(SECONDS),60)

bench: ## benchmarks and a short round against peers (BENCH=name for one bench, PERF=1 to record it with perf)
ifneq ($(PERF),)
	@[[ -n '$(BENCH)' ]] || { echo 'PERF=1 needs BENCH=name: one benchmark at a time'; exit 2; }
	@$(MAKE) perf BENCH='$(BENCH)'
else ifneq ($(BENCH),)
	@$(CARGO) bench --bench $(BENCH)
else
	@benches/all.sh
endif

bench-peers: ## the same echo server on other libraries, all loads, into docs/bench/ (17 minutes; COMPARE="--rounds 96" for half the doubt)
	@$(CARGO) build --release $(PEERS)
	@target/peers/release/compare --out docs/bench $(COMPARE)

sweep: ## the knobs of the tuning page at several values: curves and tables into docs/ (5 minutes; TIME=0.2 for shorter turns)
	@$(CARGO) build --release $(PEERS)
	@target/peers/release/sweep $(if $(findstring --curves,$(SWEEP)),,--out docs) $(if $(TIME),--seconds $(TIME)) $(SWEEP)

counts: ## system calls, instructions and lines of memory per message of each echo server (5 minutes)
	@$(call need,strace,strace)
	@$(call need,valgrind,valgrind)
	@$(CARGO) build --release $(PEERS)
	@benches/peers/counts.sh

perf: ## where time goes: an echo server under load (SERVER=, LOAD="connections window bytes") or BENCH=name
	@$(call need,perf,linux-perf)
	@$(CARGO) build --release $(PEERS)
	@benches/peers/perf.sh

peers: ## lints and tests of benches/peers, which CI leaves alone
	@$(CARGO) fmt --manifest-path benches/peers/Cargo.toml -- --check
	@$(CARGO) clippy --release $(PEERS) --all-targets -- -D warnings
	@$(CARGO) test --release $(PEERS)

queue: ## tasks per second through the cross-thread queue
	@$(CARGO) bench --package tidegate-sys --bench queue

mutations: ## faults in a copy of the source that the tests must notice (some minutes; not part of ci)
	@tests/mutations.sh

fuzz: ## 10 million mutated inputs through each decoder (INPUTS=n CODEC=name SEED=n; LIBFUZZER=seconds for libFuzzer too)
	@cd fuzz && $(CARGO) run --release --quiet --bin mutate -- $(or $(INPUTS),10000000) $(or $(CODEC),all) $(or $(SEED),1)
ifneq ($(LIBFUZZER),)
	@# All in one build, or the one that is asked for.
	@cd fuzz && $(CARGO) +nightly fuzz build --fuzz-dir . --features libfuzzer $(CODEC)
	@cd fuzz && for codec in $(or $(CODEC),$(patsubst fuzz/targets/%.rs,%,$(wildcard fuzz/targets/*.rs))); do \
		$(CARGO) +nightly fuzz run --fuzz-dir . --features libfuzzer $$codec -- -max_total_time=$(LIBFUZZER) -max_len=4096; \
	done
endif

clean: ## remove everything built
	@$(CARGO) clean
