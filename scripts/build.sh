#!/bin/sh
# Builds one folder with Meson and Ninja.
#   scripts/build.sh FOLDER [MESON OPTION]...
#   HEARTH_NINJA  more arguments for ninja: what to build (default everything), -j
set -eu
cd "$(dirname "$0")/.."
folder=$1
shift

# A full build writes about 200 MiB.
free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ ! -f "$folder/build.ninja" ] && [ "$free_kib" -lt 307200 ]; then
    echo "hearth: $((free_kib / 1024)) MiB are free here and the build needs 300: free some space" >&2
    exit 1
fi
if [ ! -f "$folder/build.ninja" ]; then
    echo "hearth: configuring $folder"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! meson setup "$folder" "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -rf "$folder"
        echo "hearth: meson could not configure the build (its last lines are above)" >&2
        exit 1
    fi
fi
# On a terminal ninja shows its progress; elsewhere only faults are of interest.
quiet=--quiet
[ ! -t 1 ] || quiet=
# shellcheck disable=SC2086
exec ninja -C "$folder" $quiet ${HEARTH_NINJA:-}
