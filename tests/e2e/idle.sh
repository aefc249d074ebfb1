#!/bin/bash
# Workers that wait and servers that serve nobody use no processor time.
. "$(dirname "$0")/lib.sh"

# Clock ticks that a process has used.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

"${kvlaunch[@]}" -n 2 -s 2 -- "$BUILD/e2e/kill_job" --rounds 1 --idle yes >"$scratch/out" 2>&1 &
launcher=$!
asleep() { [ "$(grep -c 'hash' "$scratch/out")" = 2 ]; }
wait_for 30 "two idle workers" asleep

pids="$launcher $(children $launcher kvstored) $(children $launcher kill_job)"
expect "processes" "$(echo "$pids" | wc -w)" 5
declare -A before
for pid in $pids; do before[$pid]=$(ticks "$pid"); done
say "5 processes, 3 s"
sleep 3
for pid in $pids; do
    used=$(($(ticks "$pid") - before[$pid]))
    [ "$used" -le 3 ] || fail "$(cat "/proc/$pid/comm") used $used ticks of 300"
done
kill -TERM "$launcher"
wait "$launcher"
pass
