#!/usr/bin/env bash
# Shows by symbol that builds without the feature `sim` contain nothing of the simulated kernel, and that the same
# search finds it in builds with the feature.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

count() { # LIBRARY PATTERN
	nm --demangle "$1" 2>/dev/null | grep -cE "$2" || true
}

"$cargo" build --quiet --release --package tidegate --package tidegate-sys
plain=$(count target/release/libtidegate_sys.rlib 'os::sim')
above=$(count target/release/libtidegate.rlib 'tidegate::sim|os::sim')
"$cargo" build --quiet --release --package tidegate-sys --features sim
with=$(count target/release/libtidegate_sys.rlib 'os::sim')
echo "sim: $plain and $above symbols without the feature, $with with it"
[[ $plain == 0 && $above == 0 && $with -gt 0 ]]
