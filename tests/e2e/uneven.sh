#!/bin/bash
# Epochs of uneven batches end, with the same bits whether servers die or not.
. "$(dirname "$0")/lib.sh"

# run OUTPUT OPTION...
run() {
    local out=$1
    shift
    timeout 120 "${kvlaunch[@]}" -n 3 -s 2 "$@" -- \
        "$BUILD/e2e/uneven_job" 12 >"$out" 2>"$out.err" ||
        fail "the job ended with $?: $(tail -c 2000 "$out.err")"
    grep -o 'hash [0-9a-f]*' "$out"
}

say "three ranks, each with another number of batches"
calm=$(run "$scratch/calm") || fail "$calm"
expect_text "the result" "$scratch/calm" 'hash [0-9a-f]{16}'
say "the same while servers are killed"
rough=$(run "$scratch/rough" --chaos 10 --chaos-within 0.05) || fail "$rough"
expect "the bits after kills" "$rough" "$calm"
expect_text "the launcher" "$scratch/rough.err" 'killed servers [1-9][0-9]* times'
wait_for 5 "all processes to be gone" nothing_marked
pass
