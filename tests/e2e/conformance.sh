#!/bin/bash
# MXNet's own distributed tests and ps-lite's, with the numbers they demand:
# tests/README.md says which. Their scenarios with gradient compression are left
# out, for there is no 2-bit or 1-bit compression to test.
. "$(dirname "$0")/lib.sh"

# conforms WHAT WORKERS SERVERS PROGRAM...
conforms() {
    local what=$1 workers=$2 servers=$3
    shift 3
    say "$what"
    timeout 200 "${kvlaunch[@]}" --quiet --shards 1 -n "$workers" -s "$servers" -- "$@" \
        >"$scratch/out" 2>"$scratch/err" || fail "$what: $(tail -c 2000 "$scratch/err" "$scratch/out")"
    expect "workers that conform" "$(grep -c '\] conforms$' "$scratch/out")" "$workers"
}

conforms "dist_sync" 7 7 "$BUILD/e2e/dist_sync_job"
conforms "dist_sync with multi_precision" 7 7 "$BUILD/e2e/dist_sync_job" multi_precision=1
conforms "dist_device_sync: broadcast and pushpull" 7 7 "$BUILD/e2e/dist_custom_job" custom
conforms "dist_async" 7 7 "$BUILD/e2e/dist_custom_job" async
conforms "ps-lite: 10,000 keys a rank, 50 pushes, 50 pushpulls" 2 2 "$BUILD/e2e/dist_custom_job" app
wait_for 5 "all processes to be gone" nothing_marked
pass
