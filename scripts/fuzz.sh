#!/bin/sh
# Builds the fuzz targets and runs each for a while on its corpus.
#   scripts/fuzz.sh [SECONDS_EACH [TARGET...]]     default: 60 seconds, every target
# New inputs go to build-fuzz/corpus/<noun>; what crashes is kept in build-fuzz/findings.
#   scripts/fuzz.sh --minimize [TARGET...]   merges them into tests/fuzz/corpus/<noun>
set -eu
cd "$(dirname "$0")/.."

minimize=
seconds=60
if [ "${1-}" = --minimize ]; then
    minimize=1
    shift
elif [ $# -gt 0 ]; then
    seconds=$1
    shift
fi

cc=$(command -v clang || command -v clang-14) || {
    echo "fuzz: clang is missing; install it with: apt-get install clang" >&2
    exit 1
}
[ -f build-fuzz/build.ninja ] ||
    CC=$cc meson setup build-fuzz -Dfuzz=true -Dtests=false -Doptimization=1 >/dev/null
[ $# -gt 0 ] || set -- $(ls tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_\(.*\)\.c|\1|')
for noun in "$@"; do
    ninja -C build-fuzz "tests/fuzz/fuzz_$noun" >build-fuzz/build.log || {
        cat build-fuzz/build.log
        exit 1
    }
done

status=0
mkdir -p build-fuzz/findings
export UBSAN_OPTIONS=print_stacktrace=1
for noun in "$@"; do
    found=build-fuzz/corpus/$noun
    kept=tests/fuzz/corpus/$noun
    mkdir -p "$found" "$kept"
    if [ -n "$minimize" ]; then
        rm -rf "$found.min"
        mkdir "$found.min"
        "build-fuzz/tests/fuzz/fuzz_$noun" -merge=1 -max_len=65536 "$found.min" "$kept" "$found"
        rm -rf "$kept"
        mv "$found.min" "$kept"
        continue
    fi
    seeds=tests/fuzz/make_${noun}_corpus.py
    [ ! -f "$seeds" ] || python3 "$seeds" "$found"
    dict=tests/fuzz/$noun.dict
    echo "fuzz_$noun: $seconds seconds"
    "build-fuzz/tests/fuzz/fuzz_$noun" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -malloc_limit_mb=1024 -print_final_stats=1 -artifact_prefix="build-fuzz/findings/$noun-" \
        $([ ! -f "$dict" ] || echo "-dict=$dict") "$found" "$kept" \
        >"build-fuzz/$noun.log" 2>&1 || {
        status=1
        tail -40 "build-fuzz/$noun.log"
        echo "fuzz_$noun: a finding; the input is in build-fuzz/findings" >&2
        continue
    }
    grep -E 'DONE|stat::number_of_executed|stat::average' "build-fuzz/$noun.log" | tail -3
done
exit $status
