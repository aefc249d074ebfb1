#!/bin/bash
# 100 random kills of servers, and the same bits at the end of every run.
. "$(dirname "$0")/lib.sh"
tests/e2e/kill_loop --build "$BUILD" --kills "${KILLS:-60}" || fail "see above"
tests/e2e/kill_loop --build "$BUILD" --kills 20 --optimizer adam --workers 2 || fail "see above"
tests/e2e/kill_loop --build "$BUILD" --kills 20 --kind dist_async --servers 1 || fail "see above"
wait_for 5 "all processes to be gone" nothing_marked
pass
