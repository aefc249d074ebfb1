#!/bin/bash
# A server started by hand; and two on one arena, or none for want of room.
. "$(dirname "$0")/lib.sh"

# serve NAME FLAGS...: in the background; sets $server and $address.
serve() {
    local to=$scratch/$1
    shift
    : >"$to.ready"
    "$BUILD/kvstored" --listen 127.0.0.1:0 --ready-fd 9 "$@" 9>"$to.ready" >"$to" 2>&1 &
    server=$!
    wait_for 20 "the server" test -s "$to.ready"
    read -r address <"$to.ready"
}

stop() {
    kill -TERM "$server"
    wait "$server"
    expect "exit status of the server" $? 0
}

say "hello, as in the README"
serve first --arena-dir "$scratch/arena"
KV_ROOT=$address timeout 60 "$BUILD/examples/hello" >"$scratch/hello" || fail "hello"
expect "hello" "$(tail -n 1 "$scratch/hello")" "w is 0.875 0.875 0.875 0.875"

say "a second server on the same arena refuses to start"
timeout 20 "$BUILD/kvstored" --listen 127.0.0.1:0 --arena-dir "$scratch/arena" >"$scratch/second" 2>&1 &&
    fail "it started"
expect_text "second" "$scratch/second" 'another process'
kill -0 "$server" || fail "the first one died of it"
stop
say "and once the first has gone, it may"
serve third --arena-dir "$scratch/arena"
stop

say "a port that is taken is named"
serve fourth --arena-dir "$scratch/arena4"
timeout 20 "$BUILD/kvstored" --listen "$address" --arena-dir "$scratch/arena5" >"$scratch/fifth" 2>&1 &&
    fail "it started"
expect_text "fifth" "$scratch/fifth" "$address"
say "a server ends with its lifeline"
stop
mkfifo "$scratch/lifeline"
sleep 300 >"$scratch/lifeline" &
holder=$!
serve sixth --arena-dir "$scratch/arena6" --lifeline-fd 8 8<"$scratch/lifeline"
kill -0 "$server" || fail "it ended at once"
kill "$holder"
wait "$server"
expect "exit status of the server" $? 0

say "not beyond loopback without a key"
timeout 20 "$BUILD/kvstored" --listen 0.0.0.0:0 --arena-dir "$scratch/arena" >"$scratch/open" 2>&1 &&
    fail "it started"
expect_text "open" "$scratch/open" 'key'

say "no room for the arena"
if unshare -m true 2>/dev/null; then
    mkdir "$scratch/small"
    unshare -m bash -c "mount -t tmpfs -o size=64k none '$scratch/small' && exec timeout 20 \
        '$BUILD/kvstored' --listen 127.0.0.1:0 --arena-dir '$scratch/small/arena'" \
        >"$scratch/room" 2>&1
    status=$?
    [ "$status" -ge 1 ] && [ "$status" -lt 124 ] || fail "status $status, not a refusal: $(cat "$scratch/room")"
    expect_text "room" "$scratch/room" '[Nn]o (space|room)|space left'
else
    say "(skipped: needs the right to mount)"
fi
wait_for 5 "all processes to be gone" nothing_marked
pass
