#!/bin/sh
# Hearth's server beside llama.cpp's under load: rows or tables of bench/serve.py, all when none is given.
#   ONLY="small-users-32 long"  which; `bench/serve.py --list` shows them and how long they take
#   ROUNDS=3                    samples of each server
#   QUICK=1                     one round, a fifth of the time: no figures, only to see that it works
#   LLAMA_SERVER=file           the peer; "prebuilt": a package's, for AVX2; without it one is built from source
set -eu
cd "$(dirname "$0")/.."
[ -n "${LLAMA_SERVER:-}" ] || sh scripts/install-deps.sh scripts/packages-bench.txt
exec python3 bench/serve.py ${ONLY:-} --rounds "${ROUNDS:-3}" ${QUICK:+--quick}
