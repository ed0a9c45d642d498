#!/bin/sh
# Builds with a sanitizer and runs the unit and kernel tests under it.
#   scripts/sanitize.sh FOLDER SANITIZERS
# Warnings are no errors here: with sanitizers GCC warns of what cannot be.
set -eu
cd "$(dirname "$0")/.."
sh scripts/build.sh "$1" -Db_sanitize="$2" -Db_lundef=false -Doptimization=1 -Dwerror=false
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
exec meson test -C "$1" --no-rebuild --suite unit --suite kernel --print-errorlogs --timeout-multiplier 10
