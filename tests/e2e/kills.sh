#!/bin/bash
# KILLS random kills of servers, and the same bits at the end of every run. A
# server that is slow to start has to live for longer to do anything: each kill is
# within KILL_WITHIN_MS of the last.
. "$(dirname "$0")/lib.sh"
kill_loop() { tests/e2e/kill_loop --build "$BUILD" "$@" || fail "see above"; }

tenth=$((${KILLS:-100} / 10))

within=${KILL_WITHIN_MS:-60}
# shellcheck disable=SC2086 # Without it, the loop's own choices.
kill_loop --kills $((4 * tenth)) ${KILL_WITHIN_MS:+--within-ms $KILL_WITHIN_MS}
kill_loop --kills $((2 * tenth)) --within-ms "$within" --optimizer adam --workers 2 --shards 2
kill_loop --kills $((2 * tenth)) --within-ms "$within" --optimizer lamb
kill_loop --kills $((1 * tenth)) --within-ms "$within" --optimizer lars
kill_loop --kills $((2 * tenth)) --within-ms "$within" --kind dist_async --servers 1
wait_for 5 "all processes to be gone" nothing_marked
pass
