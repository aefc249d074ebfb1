#!/bin/bash
# 100 random kills of servers, and the same bits at the end of every run. Under a
# sanitizer everything is slow, and QUICK: 20, of servers that had time to work.
. "$(dirname "$0")/lib.sh"
kill_loop() { tests/e2e/kill_loop --build "$BUILD" "$@" || fail "see above"; }

if [ "${QUICK:-0}" = 1 ]; then
    kill_loop --kills 20 --within-ms 150 --optimizer adam --workers 2 --shards 2
else
    kill_loop --kills 40
    kill_loop --kills 20 --within-ms 60 --optimizer adam --workers 2 --shards 2
    kill_loop --kills 20 --within-ms 60 --optimizer lamb
    kill_loop --kills 10 --within-ms 60 --optimizer lars
    kill_loop --kills 20 --within-ms 60 --kind dist_async --servers 1
fi
wait_for 5 "all processes to be gone" nothing_marked
pass
