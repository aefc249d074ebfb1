#!/bin/bash
# Ctrl-C and its kin: workers hear of it, have some time, and then are gone.
. "$(dirname "$0")/lib.sh"

# start PROGRAM...: in the background, with default signals; sets $launcher.
start() {
    rm -f "$scratch"/up.*
    env --default-signal=INT "${kvlaunch[@]}" \
        -n 2 -s 2 --env DIR="$scratch" -- "$@" >"$scratch/out" 2>&1 &
    launcher=$!
    wait_for 20 "worker 0" test -e "$scratch/up.0"
    wait_for 20 "worker 1" test -e "$scratch/up.1"
}

# ends WITHIN STATUS
ends() {
    local begun=$SECONDS status
    wait "$launcher"
    status=$?
    expect "exit status" "$status" "$2"
    [ $((SECONDS - begun)) -le "$1" ] || fail "took $((SECONDS - begun)) s"
    wait_for 5 "all processes to be gone" nothing_marked
}

polite='trap "echo heard; exit 0" INT TERM HUP; : >"$DIR/up.$KV_RANK"
    while :; do sleep 0.05; done'
deaf='trap "" INT TERM HUP; : >"$DIR/up.$KV_RANK"; while :; do sleep 0.05; done'

for signal in INT:130 TERM:143 HUP:129; do
    say "SIG${signal%:*}"
    start sh -c "$polite"
    kill -"${signal%:*}" "$launcher"
    ends 3 "${signal#*:}"
    expect "workers that heard" "$(grep -c heard "$scratch/out")" 2
done

say "the children of a worker hear it too"
start sh -c "sh -c '$polite' & wait \$!; wait \$!"
kill -TERM "$launcher" # A shell's background jobs ignore SIGINT.
ends 3 143
expect "that heard" "$(grep -c heard "$scratch/out")" 2

say "workers that do not listen are killed after the grace"
start sh -c "$deaf"
kill -INT "$launcher"
ends 8 130

say "or at once, when asked twice"
start sh -c "$deaf"
kill -INT "$launcher"
wait_for 5 "the first to be heard" grep -q 'SIGINT: ending' "$scratch/out"
kill -INT "$launcher"
ends 3 130
pass
