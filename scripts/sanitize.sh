#!/bin/sh
# Builds with a sanitizer and runs the unit tests (and the kernels' check) under it.
#   scripts/sanitize.sh FOLDER SANITIZERS
# Warnings are no errors here: with sanitizers GCC warns of what cannot be.
set -eu
cd "$(dirname "$0")/.."
sh scripts/build.sh "$1" -Db_sanitize="$2" -Db_lundef=false -Doptimization=1 -Dwerror=false
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# Kernels are single-threaded; their check takes minutes under ThreadSanitizer and shows nothing.
suites="--suite unit"
[ "$2" = thread ] || suites="$suites --suite kernel"
# shellcheck disable=SC2086
exec meson test -C "$1" --no-rebuild $suites --print-errorlogs --timeout-multiplier 10
