# shellcheck shell=bash
# Sourced by the scripts beside it: the frame of an end-to-end test.
#
# BUILD names what is tested. A test prints what it does, and at the end one
# line that starts with PASS or FAIL. Nothing it starts outlives it: each
# process carries the test's mark in its environment, and is found by that.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
BUILD=${BUILD:-build/release}
name=$(basename "$0" .sh)
scratch=$(mktemp -d)
export KV_TEST_MARK=$name-$$-$RANDOM
shm=/dev/shm
[ -w "$shm" ] || shm=${TMPDIR:-/tmp}

say() { echo "  $*"; }

fail() {
    echo "FAIL: $name: $*"
    exit 1
}

pass() {
    echo "PASS: $name"
    exit 0
}

# Processes of this test but the shell itself, zombies left out.
marked() {
    local environ pid
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/}
        pid=${pid%/environ}
        if [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] &&
            grep -qs "^KV_TEST_MARK=$KV_TEST_MARK\$" <(tr '\0' '\n' 2>/dev/null <"$environ") 2>/dev/null; then
            echo "$pid"
        fi
    done
}

nothing_marked() { [ -z "$(marked)" ]; }

signal_marked() {
    local pid
    for pid in $(marked); do
        kill "-$1" "$pid" 2>/dev/null
    done
}

cleanup() {
    local end=$((SECONDS + 8))
    signal_marked TERM # A launcher takes its time, and its files with it.
    until nothing_marked || [ $SECONDS -gt $end ]; do sleep 0.1; done
    signal_marked KILL
    rm -rf "$scratch"
}
trap cleanup EXIT

kvlaunch=(scripts/kvlaunch --kvstored "$BUILD/kvstored")

# expect WHAT GOT WANTED
expect() {
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# expect_text WHAT FILE PATTERN
expect_text() {
    grep -qE -- "$3" "$2" || fail "$1: no '$3' in: $(tail -c 2000 "$2")"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -le "$end" ] || fail "waited in vain for $what"
        sleep 0.02
    done
}

# The pids of a launcher's children whose program is called NAME.
children() {
    local pid
    for pid in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]; then
            echo "$pid"
        fi
    done
}
