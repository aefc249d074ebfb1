#!/bin/bash
# Connections that are cut in the middle of anything change nothing.
. "$(dirname "$0")/lib.sh"

hash_in() { sed -n 's/.* hash \([0-9a-f]*\) .*/\1/p' "$1" | sort -u; }

say "in peace"
"${kvlaunch[@]}" -n 3 -s 2 -- "$BUILD/e2e/kill_job" --rounds 300 >"$scratch/peace" 2>"$scratch/err" ||
    fail "$(tail -c 2000 "$scratch/err")"

say "with both servers' connections reset 10 times each"
timeout 120 scripts/kvlaunch --kvstored tests/e2e/proxy -n 3 -s 2 \
    --env-server KVSTORED="$BUILD/kvstored" --env-server CUTS=10 --env-server WITHIN=0.2 \
    -- "$BUILD/e2e/kill_job" --rounds 300 >"$scratch/cut" 2>"$scratch/err" ||
    fail "status $?: $(tail -c 2000 "$scratch/err")"

grep -o 'cut [0-9]*: [0-9]* connections' "$scratch/cut" | tail -n 2 | sed 's/^/  /'
[ "$(grep -c ' cut [0-9]*: ' "$scratch/cut")" -ge 5 ] || fail "hardly any cuts"
expect "length of the hash" "$(hash_in "$scratch/peace" | wc -c)" 17
expect "hash" "$(hash_in "$scratch/cut")" "$(hash_in "$scratch/peace")"
wait_for 5 "all processes to be gone" nothing_marked
pass
