#!/bin/sh
# Fails when clang-format would change a file. "--fix" changes it.
cd "$(dirname "$0")/.." || exit 1
tool=$(command -v clang-format-14 || command -v clang-format) || {
    echo "format: clang-format is missing; install it with: apt-get install clang-format-14"
    exit 1
}
files=$(git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')
if [ "${1-}" = --fix ]; then
    echo "$files" | xargs -r "$tool" -i
    exit 0
fi
if echo "$files" | xargs -r "$tool" --dry-run -Werror 2>/tmp/hearth-format.$$; then
    echo "format: $(echo "$files" | wc -w) files, 0 faults"
    rm -f /tmp/hearth-format.$$
else
    grep -E 'error:' /tmp/hearth-format.$$ | head -20
    echo "format: run 'make format'"
    rm -f /tmp/hearth-format.$$
    exit 1
fi
