#!/bin/sh
# What the tests need beyond the build: Debian packages, the Python environment .venv, the
# JavaScript client, two real models. What is there already is not done again.
#   HEARTH_TEST_MODELS  where the models go; default ~/.cache/hearth/test-models
set -eu
cd "$(dirname "$0")/.."

sh scripts/install-deps.sh scripts/packages.txt scripts/packages-test.txt

log=$(mktemp)
trap 'rm -f "$log"' EXIT
fail() {
    tail -n 15 "$log" >&2
    echo "hearth: $1" >&2
    exit 1
}

# .venv is made anew when the list of requirements changed; the stamp is written last.
stamp=.venv/requirements.sha256
if ! sha256sum --status -c "$stamp" 2>/dev/null || ! .venv/bin/python -c 'import pytest' 2>/dev/null; then
    echo "hearth: making .venv from tests/requirements.txt"
    rm -rf .venv
    python3 -m venv .venv >"$log" 2>&1 || fail "python3 cannot make a virtual environment"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt \
        >"$log" 2>&1 || fail "pip could not install tests/requirements.txt: network, or disk?"
    sha256sum tests/requirements.txt >"$stamp"
fi

js=tests/e2e/js
if [ -f "$js/package-lock.json" ] && ! sha256sum --status -c "$js/node_modules/.stamp" 2>/dev/null; then
    echo "hearth: npm ci in $js"
    (cd "$js" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
        fail "npm could not install $js/package-lock.json: network, or disk?"
    sha256sum "$js/package-lock.json" >"$js/node_modules/.stamp"
fi

exec python3 scripts/fetch-test-models.py \
    "${HEARTH_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth/test-models}"
