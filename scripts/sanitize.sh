#!/bin/sh
# Builds with a sanitizer and runs the unit tests (and the kernels' check) under it.
#   scripts/sanitize.sh FOLDER SANITIZERS [early|late]
# "early": only what does not look at the clock, which may run beside anything: kernels, programs without
# threads; "late": the rest, once early has built it.
# Warnings are no errors here: with sanitizers GCC warns of what cannot be. Reports need line numbers
# only, and finding out where each variable is would take a part of the build.
set -eu
cd "$(dirname "$0")/.."
# Only programs with threads (tests/unit/meson.build) can show ThreadSanitizer anything; kernels have none.
if [ "$2" = thread ]; then
    targets=threaded_programs early='' all='--suite threads'
else
    targets='unit_programs kernel_programs replay_programs' early='--suite unit --suite kernel --no-suite threads'
    all='--suite unit --suite kernel'
fi
case ${3:-} in
early) suites=$early ;;
late) suites='--suite threads' ;;
*) suites=$all ;;
esac
HEARTH_NINJA="${HEARTH_NINJA:-} $targets" sh scripts/build.sh "$1" -Db_sanitize="$2" -Db_lundef=false \
    -Doptimization=1 -Dwerror=false -Dc_args=-g1
[ -n "$suites" ] || exit 0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# shellcheck disable=SC2086
exec meson test -C "$1" --no-rebuild $suites --print-errorlogs --timeout-multiplier 10
