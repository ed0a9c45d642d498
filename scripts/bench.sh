#!/bin/sh
# Hearth beside its peers: rows or tables of bench/compare.py, all of them when none is given.
#   ONLY="prefill-1b types"  which; `bench/compare.py --list` shows them and how long they take
#   ROUNDS=7                 samples of each side
#   IK=folder                of ik_llama.cpp's programs
set -eu
cd "$(dirname "$0")/.."
command -v npm >/dev/null || [ -n "${LLAMA_CPP_LIB:-}" ] ||
    sh scripts/install-deps.sh scripts/packages-test.txt
exec python3 bench/compare.py ${ONLY:-} --rounds "${ROUNDS:-7}" ${IK:+--ik "$IK"}
