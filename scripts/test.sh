#!/usr/bin/env bash
# Every test: unit and kernel programs through Meson, arm64's kernels emulated, then golden, e2e and chaos
# through pytest.
# Ends with the line "N passed, N failed"; fails when a test failed or a suite could not run.
set -uo pipefail
cd "$(dirname "$0")/.."

export HEARTH_TEST_MODELS="${HEARTH_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth/test-models}"
export HEARTH_BIN="${HEARTH_BIN:-$PWD/build/hearth}"

stop() {
    echo "0 passed, 1 failed"
    exit 1
}
sh scripts/test-setup.sh || stop
sh scripts/build.sh build || stop

results=build/test-results
rm -rf "$results"
mkdir -p "$results"
meson test -C build --no-rebuild --suite unit --suite kernel --suite spills --print-errorlogs
sh scripts/check-neon.sh
code=$?
if [ "$code" -eq 77 ]; then
    echo "neon_emulated" >>"$results/skipped"
elif ! cp build-neon/meson-logs/testlog.json "$results/neon_emulated.json"; then
    echo "neon_emulated $code" >>"$results/broken"
fi
for suite in golden e2e chaos; do
    ls tests/$suite/test_*.py >/dev/null 2>&1 || continue
    .venv/bin/python -m pytest -q -p no:cacheprovider "tests/$suite" \
        --junitxml="$results/$suite.xml" --durations=5
    # 0 all passed, 1 some failed (the report says which), 5 none collected; else it broke off.
    code=$?
    [ "$code" -le 1 ] || [ "$code" -eq 5 ] || echo "$suite $code" >>"$results/broken"
done
exec python3 scripts/test-summary.py build/meson-logs/testlog.json "$results"
