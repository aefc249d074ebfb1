#!/bin/bash
# Servers that are killed or stand still change nothing in the result.
. "$(dirname "$0")/lib.sh"
rounds=${ROUNDS:-400}
kind=dist_sync

# job NAME KVLAUNCH-OPTIONS...: in the background; output in $scratch/NAME.
job() {
    local to=$1
    shift
    "${kvlaunch[@]}" "$@" -- "$BUILD/e2e/kill_job" --rounds "$rounds" --kind "$kind" \
        >"$scratch/$to" 2>"$scratch/$to.err" &
    launcher=$!
}

# begun NAME: its four workers train.
begun() {
    joined() { [ "$(cat "$scratch/$1.err" 2>/dev/null | grep -c 'rank . of 4 joined')" -ge 4 ]; }
    wait_for 20 "the workers to join" joined "$1"
}

# ends NAME: its workers agree; sets $hash.
ends() {
    wait "$launcher" || fail "$1: $(tail -c 2000 "$scratch/$1.err")"
    hash=$(sed -n 's/.* hash \([0-9a-f]*\) .*/\1/p' "$scratch/$1" | sort -u)
    expect "length of the hash of $1" "${#hash}" 16
}

say "4 workers, 2 servers, twice without a fault"
job peace -n 4 -s 2
ends peace
peace=$hash
job again -n 4 -s 2
ends again
expect "second run" "$hash" "$peace"

say "kill -9 of a server from outside, 5 times"
job killed -n 4 -s 2
begun killed
for ((i = 1; i <= 5; i++)); do
    restarted() { [ "$(grep -c 'restarting it' "$scratch/killed.err")" -ge "$i" ]; }
    wait_for 20 "servers" eval '[ -n "$(children $launcher kvstored)" ]'
    # shellcheck disable=SC2046
    kill -9 $(children "$launcher" kvstored | shuf -n 1) || fail "the job ended too early"
    wait_for 20 "restart $i" restarted
done
ends killed
expect "killed" "$hash" "$peace"

say "SIGSTOP of a server for 3 s, then of the other"
job stopped -n 4 -s 2
begun stopped
for which in 1 2; do
    wait_for 20 "servers" eval '[ "$(children $launcher kvstored | wc -l)" = 2 ]'
    server=$(children "$launcher" kvstored | sed -n "${which}p")
    kill -STOP "$server" || fail "the job ended too early"
    sleep 3
    kill -CONT "$server"
done
ends stopped
expect "stopped" "$hash" "$peace"

say "dist_async: every push applied once, killed or not"
kind=dist_async
job async-peace -n 3 -s 2
ends async-peace
peace=$hash
job async -n 3 -s 2 --chaos 5 --chaos-within 0.06
ends async
expect_text "kills" "$scratch/async.err" 'killed servers 5 times'
expect "async" "$hash" "$peace"

wait_for 5 "all processes to be gone" nothing_marked
pass
