#!/bin/sh
# Every check that reads the source without building it. One line per check; non-zero on a fault.
cd "$(dirname "$0")/.." || exit 1
status=0
python3 scripts/check-layers.py || status=1
python3 scripts/check-sizes.py || status=1
sh scripts/check-format.sh || status=1
if git grep -nE '//' -- 'src/*.[ch]' | grep -vE ':[0-9]+:.*(https?:|"[^"]*//|/\*.*//|^\S*\s*\*)' | grep -E ':[0-9]+:\s*//'; then
    echo "comments: /* */ only"
    status=1
fi
exit $status
