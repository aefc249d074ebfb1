#!/bin/bash
# Strangers and lying members harm nobody but themselves.
. "$(dirname "$0")/lib.sh"
rounds=${ROUNDS:-1000}
key=$scratch/key
job=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
(umask 077 && head -c 32 /dev/urandom >"$key")
export KV_JOB=$job KV_KEY_FILE=$key KV_WORKERS=2 KV_SERVERS=1

"$BUILD/kvstored" --listen 127.0.0.1:0 --arena-dir "$scratch/arena" --shards 2 \
    --ready-fd 9 9>"$scratch/ready" >"$scratch/log" 2>&1 &
server=$!
wait_for 20 "the server" test -s "$scratch/ready"
read -r address <"$scratch/ready"
alive() { kill -0 "$server" 2>/dev/null || fail "the server died: $(tail -n 5 "$scratch/log")"; }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }

hostile() {
    timeout 120 tests/e2e/hostile "$@" --address "$address" --job "$job" --key-file "$key" ||
        fail "hostile $1"
    alive
}

# workers LIFE: two workers of kill_job; their hash in $hash.
workers() {
    local rank pids=()
    for rank in 0 1; do
        KV_ROOT=$address KV_RANK=$rank KV_INCARNATION=$1 timeout 120 \
            "$BUILD/e2e/kill_job" --rounds "$rounds" >"$scratch/worker.$rank" 2>&1 &
        pids+=($!)
    done
    "${@:2}"
    for rank in 0 1; do
        wait "${pids[rank]}" || fail "worker $rank: $(tail -c 2000 "$scratch/worker.$rank")"
    done
    hash=$(sed -n 's/^hash \([0-9a-f]*\) .*/\1/p' "$scratch"/worker.? | sort -u)
    expect "length of the hash" "${#hash}" 16
}

say "what the result should be"
peace=$("${kvlaunch[@]}" --quiet -n 2 -s 1 -- "$BUILD/e2e/kill_job" --rounds "$rounds" |
    sed -n 's/.* hash \([0-9a-f]*\) .*/\1/p' | sort -u)

before=$(memory)
say "a member that lies in every field, with the job not begun"
hostile member
say "strangers, while two workers train"
workers 2 hostile strangers --seconds 3
expect "hash under attack" "$hash" "$peace"
after=$(memory)
[ $((after - before)) -le 65536 ] || [ -n "${SAN:-}" ] ||
    fail "the server grew by $((after - before)) KiB"

say "every refusal has its reason in the log"
for reason in 'does not speak this protocol' 'another key' 'another job'; do
    expect_text "log" "$scratch/log" "$reason"
done
lines=$(wc -l <"$scratch/log")
[ "$lines" -le 1000 ] || fail "$lines lines in the log"

kill -TERM "$server"
wait "$server"
expect "exit status of the server" $? 0
pass
