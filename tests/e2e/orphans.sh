#!/bin/bash
# Whatever ends the launcher, no process and no file is left behind.
. "$(dirname "$0")/lib.sh"
runs=${RUNS:-20}

job='sleep 300 & : >"$DIR/up.$KV_RANK"; setsid -f sleep 0.01; wait'

start() {
    rm -f "$scratch"/up.*
    "${kvlaunch[@]}" -n 2 -s 2 --arena-dir "$scratch/arenas" \
        --env DIR="$scratch" -- sh -c "$job" >"$scratch/out" 2>&1 &
    launcher=$!
}

nothing_left() {
    wait "$launcher" 2>/dev/null
    wait_for 10 "all processes to be gone" nothing_marked
    expect "files left" "$(ls "$scratch/arenas")" ""
}

servers_gone() {
    local pid
    for pid in $(marked); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != kvstored ] || return 1
    done
}

mkdir "$scratch/arenas"
say "kill -9 of a launcher whose job runs"
start
wait_for 20 "worker 0" test -e "$scratch/up.0"
wait_for 20 "worker 1" test -e "$scratch/up.1"
wait_for 5 "two arenas" eval 'ls "$scratch"/arenas/*/server-0/* "$scratch"/arenas/*/server-1/* >/dev/null 2>&1'
kill -9 "$launcher" || fail "it has ended"
nothing_left

say "kill -9 of a launcher and of its guardian"
start
wait_for 20 "worker 1" test -e "$scratch/up.1"
kill -9 "$(children "$launcher" python3 | head -n 1)" "$launcher" || fail "they have ended"
wait "$launcher" 2>/dev/null
wait_for 10 "the servers to notice" servers_gone
signal_marked KILL
rm -rf "$scratch"/arenas/*

say "kill -9 at $runs moments of its start"
for ((i = 0; i < runs; i++)); do
    start
    sleep "$(printf 0.%03d $((RANDOM % 100)))"
    kill -9 "$launcher" || fail "it has ended"
    nothing_left
done

say "kill -9 of the guardian alone"
start
wait_for 20 "worker 1" test -e "$scratch/up.1"
kill -9 "$(children "$launcher" python3 | head -n 1)" || fail "it has ended"
kill -TERM "$launcher"
wait "$launcher"
expect "exit status" $? 143
nothing_left
pass
