#!/bin/bash
# KILLS random kills of servers, and the same bits at the end of every run.
. "$(dirname "$0")/lib.sh"
kill_loop() { tests/e2e/kill_loop --build "$BUILD" "$@" || fail "see above"; }

tenth=$((${KILLS:-100} / 10))

kill_loop --kills $((4 * tenth))
kill_loop --kills $((2 * tenth)) --within-ms 60 --optimizer adam --workers 2 --shards 2
kill_loop --kills $((2 * tenth)) --within-ms 60 --optimizer lamb
kill_loop --kills $((1 * tenth)) --within-ms 60 --optimizer lars
kill_loop --kills $((2 * tenth)) --within-ms 60 --kind dist_async --servers 1
wait_for 5 "all processes to be gone" nothing_marked
pass
