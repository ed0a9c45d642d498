#!/bin/sh
# What the tests need beyond the build: Debian packages, the Python environments .venv and
# .venv-clients, the JavaScript clients, real models. What is there already is not done again.
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

# make_venv FOLDER LIST: made anew when the list changed; the stamp is written last.
make_venv() {
    stamp=$1/requirements.sha256
    if ! sha256sum --status -c "$stamp" 2>/dev/null || ! "$1/bin/python" -c 'import pytest' 2>/dev/null; then
        echo "hearth: making $1 from $2"
        rm -rf "$1"
        python3 -m venv "$1" >"$log" 2>&1 || fail "python3 cannot make a virtual environment"
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" \
            >"$log" 2>&1 || fail "pip could not install $2: network, or disk?"
        sha256sum "$2" >"$stamp"
    fi
}
make_venv .venv tests/requirements.txt
make_venv .venv-clients tests/requirements-clients.txt

js=tests/e2e/js
if [ -f "$js/package-lock.json" ] && ! sha256sum --status -c "$js/node_modules/.stamp" 2>/dev/null; then
    echo "hearth: npm ci in $js"
    (cd "$js" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
        fail "npm could not install $js/package-lock.json: network, or disk?"
    sha256sum "$js/package-lock.json" >"$js/node_modules/.stamp"
fi

exec python3 scripts/fetch-test-models.py \
    "${HEARTH_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth/test-models}"
