# Sourced by bash: where the time of a run goes.
#   phase NAME COMMAND...  runs the command, notes its wall time and the processor time of all that it
#                          started and waited for, and returns its status
#   phase_table            prints the notes
#   idle COMMAND...        runs it on processors that nobody else wants
# HEARTH_PHASES names the file of the notes; who finds it set leaves the table to its caller.

phase() {
    local name=$1 now=$HEARTH_PHASES.$BASHPID TIMEFORMAT="$1 %R %U %S" status
    shift
    { time "$@" 2>&4; } 4>&2 2>"$now"
    status=$?
    tail -n 1 "$now" >>"$HEARTH_PHASES"
    rm -f "$now"
    return $status
}

phase_table() {
    printf '%-16s %8s %8s\n' phase 'wall s' 'cpu s'
    awk '{ printf "%-16s %8.1f %8.1f\n", $1, $2, $3 + $4 }' "$HEARTH_PHASES"
}

idle() {
    if chrt -i 0 true 2>/dev/null; then
        chrt -i 0 "$@"
    else
        nice -n 19 "$@"
    fi
}
