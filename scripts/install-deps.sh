#!/bin/sh
# Installs the Debian packages that are missing; silent and quick when none is.
#   scripts/install-deps.sh LIST...
# A line of a list: "package", or "package | command" where the command's success shows that the
# machine has the thing from elsewhere. "#" begins a comment.
set -eu
cd "$(dirname "$0")/.."

missing=
for list in "$@"; do
    while IFS='|' read -r package proof; do
        package=$(echo "${package%%#*}" | tr -d ' \t')
        [ -n "$package" ] || continue
        if [ -n "$proof" ] && sh -c "$proof" >/dev/null 2>&1; then
            continue
        fi
        if command -v dpkg-query >/dev/null 2>&1 &&
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then
            continue
        fi
        missing="$missing $package"
    done <"$list"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "hearth: this is no Debian: install the equivalents of:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "hearth: packages are missing and sudo is not there; as root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
    echo "hearth: these Debian packages are missing and will be installed through sudo:$missing"
else
    echo "hearth: these Debian packages are missing and will be installed:$missing"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q "$@" >"$log" 2>&1
}
# The lists may be absent or too old for what the mirrors still carry: update and try once more.
# shellcheck disable=SC2086
if apt install --no-install-recommends $missing; then
    exit 0
fi
echo "hearth: refreshing the package lists"
# shellcheck disable=SC2086
if apt update && apt install --no-install-recommends $missing; then
    exit 0
fi
tail -n 15 "$log" >&2
if grep -qiE 'temporary failure|could not resolve|unable to connect|failed to fetch|network is unreachable' "$log"; then
    echo "hearth: the packages could not be fetched: check the network, then run this again" >&2
elif grep -qiE 'no space left|enough free space' "$log"; then
    echo "hearth: the disk is full: free some space, then run this again" >&2
else
    echo "hearth: apt-get failed (its last lines are above); install by hand:$missing" >&2
fi
exit 1
