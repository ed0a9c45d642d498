#!/usr/bin/env bash
# Every test: unit and kernel programs through Meson, arm64's kernels emulated, then golden, e2e and chaos
# through pytest.
# Ends with a table of where the time went and the line "N passed, N failed"; fails when a test failed
# or a suite could not run.
#   HEARTH_TEST_JOBS  how many files of golden and e2e run at once; default 2
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/phases.sh

export HEARTH_TEST_MODELS="${HEARTH_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth/test-models}"
export HEARTH_BIN="${HEARTH_BIN:-$PWD/build/hearth}"
table=false
if [ -z "${HEARTH_PHASES:-}" ]; then
    table=true
    HEARTH_PHASES=$(mktemp)
    trap 'rm -f "$HEARTH_PHASES"' EXIT
fi

stop() {
    echo "0 passed, 1 failed"
    exit 1
}
phase packages sh scripts/install-deps.sh scripts/packages.txt scripts/packages-test.txt || stop
sh scripts/test-setup.sh & # waits for the network while the compiler works
setup=$!
phase build sh scripts/build.sh build
built=$?
phase setup-left wait "$setup" || stop
[ "$built" -eq 0 ] || stop

# Meson's report says of a test that it failed; else Meson itself broke off.
has_failure() {
    grep -qE '"result": "(FAIL|TIMEOUT|ERROR|INTERRUPT|UNEXPECTEDPASS)"' "$1"
}

results=build/test-results
rm -rf "$results"
mkdir -p "$results"
export HEARTH_TEST_TIMES=$PWD/$results
idle sh scripts/check-neon.sh >"$results/neon.log" 2>&1 & # beside tests that wait
neon=$!
rm -f build/meson-logs/testlog.json
phase unit,kernel meson test -C build --no-rebuild --suite unit --suite kernel --suite spills --print-errorlogs
code=$?
[ "$code" -eq 0 ] || has_failure build/meson-logs/testlog.json || echo "unit_kernel $code" >>"$results/broken"
for suite in golden e2e chaos; do
    ls tests/$suite/test_*.py >/dev/null 2>&1 || continue
    # What chaos does to a server is to be all that happens to it.
    jobs="-n ${HEARTH_TEST_JOBS:-2} --dist loadfile"
    [ "$suite" != chaos ] || jobs=
    # shellcheck disable=SC2086
    phase $suite .venv/bin/python -m pytest -q -p no:cacheprovider $jobs "tests/$suite" \
        --junitxml="$results/$suite.xml" --durations=12
    # 0 all passed, 1 some failed (the report says which), 5 none collected; else it broke off.
    code=$?
    case $code in
    0 | 5) ;;
    1) grep -qE '<(failure|error)' "$results/$suite.xml" || echo "$suite $code" >>"$results/broken" ;;
    *) echo "$suite $code" >>"$results/broken" ;;
    esac
done
phase neon-left wait "$neon"
code=$?
cat "$results/neon.log"
if [ "$code" -eq 77 ]; then
    echo "neon_emulated" >>"$results/skipped"
elif ! cp build-neon/meson-logs/testlog.json "$results/neon_emulated.json" ||
    { [ "$code" -ne 0 ] && ! has_failure "$results/neon_emulated.json"; }; then
    echo "neon_emulated $code" >>"$results/broken"
fi
python3 scripts/test-times.py "$results"
[ "$table" = false ] || phase_table
python3 scripts/test-summary.py build/meson-logs/testlog.json "$results"
