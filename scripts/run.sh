#!/bin/sh
# From a fresh checkout to a served model: packages, build, model, server. What is there already is
# not done again, and then no network is needed.
#   scripts/run.sh [MODEL]      HEARTH_* in the environment reaches the server (HEARTH_PORT=8080)
set -eu
cd "$(dirname "$0")/.."
model=${1:-smollm2:135m}

sh scripts/install-deps.sh scripts/packages.txt
sh scripts/build.sh build
build/hearth pull "$model"
exec build/hearth serve --model "$model"
