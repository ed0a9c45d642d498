#!/bin/sh
# The kernels' own timings, then Hearth beside llama.cpp on the default model.
set -eu
cd "$(dirname "$0")/.."
build/tests/kernel/check_kernels --bench
sh scripts/test-setup.sh
models=${HEARTH_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth/test-models}
exec python3 bench/compare.py "$models/SmolLM2-135M-Instruct.Q4_1.gguf"
