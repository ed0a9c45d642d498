#!/bin/sh
# The arm64 kernels against generic: built with Debian's cross compiler, run under user-mode
# emulation, a test for each level. Leaves build-neon/meson-logs/testlog.json.
# Exits with 77 and says so where compiler or emulator cannot be had.
cd "$(dirname "$0")/.." || exit 1

if [ "$(uname -m)" = aarch64 ]; then
    echo "hearth: neon kernels: SKIPPED: this machine's own kernel check has them"
    exit 77
fi
if ! sh scripts/install-deps.sh scripts/packages-neon.txt; then
    echo "hearth: neon kernels: SKIPPED: no cross compiler or emulator for arm64 here"
    exit 77
fi
rm -f build-neon/meson-logs/testlog.json
sh scripts/build.sh build-neon --cross-file scripts/cross/aarch64.ini -Dkernels_only=true \
    -Dwerror=true || exit 1
# Emulated, and beside other tests (scripts/test.sh): time is no sign of a fault.
exec meson test -C build-neon --no-rebuild --print-errorlogs --timeout-multiplier 4
