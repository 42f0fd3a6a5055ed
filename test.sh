#!/usr/bin/env bash
# Every test and check of Millstream, from a fresh clone. Needs a Rust toolchain; and Node.js and Python for the local servers
# that stand for AWS, which are installed below the target folder.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$1"; }

say 'format'
cargo fmt --check

say 'lints'
cargo clippy --workspace --all-targets --locked -- -D warnings

say 'local servers that speak the APIs of AWS'
MILLSTREAM_SERVICES=$(realpath -m "${MILLSTREAM_SERVICES:-${CARGO_TARGET_DIR:-target}/services}")
export MILLSTREAM_SERVICES
tests/services/serve.sh install "$MILLSTREAM_SERVICES"

say 'tests'
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked --no-fail-fast
  cargo test --workspace --locked --doc
else
  cargo test --workspace --locked --no-fail-fast
fi

say 'deliberate bugs: the simulation finds each'
cargo run --quiet --locked -p simulation --features planted-bugs -- --planted

say 'inline tests of the shipped pipelines'
for pipeline in pipelines/*.yaml; do
  "${CARGO_TARGET_DIR:-target}/debug/millstream" test "$pipeline"
done

if cargo deny --version >/dev/null 2>&1; then
  say 'licences and advisories'
  cargo deny --offline check bans licenses sources
else
  say 'cargo-deny is not installed: licences and sources were not checked (cargo install cargo-deny)'
fi
say 'all passed'
