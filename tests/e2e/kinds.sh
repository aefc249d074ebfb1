#!/bin/bash
# The digits example with every kind of store, and under its other names.
. "$(dirname "$0")/lib.sh"
digits=$BUILD/examples/digits

# accurate NAME: the test accuracy is 0.93 or better; sets $hash.
accurate() {
    local got
    got=$(sed -n 's/.* moved by rank 0, test accuracy //p' "$scratch/$1")
    awk "BEGIN { exit !(\"$got\" + 0 >= 0.93) }" || fail "$1: test accuracy '$got': $(cat "$scratch/$1" "$scratch/$1.err")"
    hash=$(sed -n 's/.*weights fnv1a64 //p' "$scratch/$1")
    say "$1: accuracy $got, weights $hash"
}

# alone KIND, job KIND: ten passes over the digits, without servers and with.
alone() {
    timeout 120 "$digits" --kind "$1" --epochs 10 >"$scratch/$1" 2>"$scratch/$1.err" ||
        fail "$1: $(cat "$scratch/$1.err")"
    expect_text "$1" "$scratch/$1" '^1 workers, 0 servers, '
    accurate "$1"
}
job() {
    timeout 120 "${kvlaunch[@]}" -n 2 -s 2 -- "$digits" --kind "$1" --epochs 10 >"$scratch/$1" 2>"$scratch/$1.err" ||
        fail "$1: $(tail -c 2000 "$scratch/$1.err")"
    expect_text "$1" "$scratch/$1" '2 workers, 2 servers, '
    accurate "$1"
}

known=$("$digits" --kind ? 2>&1 | sed -n "s/.*unknown kind of store '?'; known: //p" | tr -d ,)
expect_text "known kinds" <(echo "$known") '\bdist_sync\b.*\blocal\b'
for kind in $known; do
    case $kind in
    dist_*) job "$kind" ;;
    device | nccl) ;; # Below.
    *) alone "$kind" ;;
    esac
done

# same KIND NAMES...: the names stand for the kind, down to the last bit.
same() {
    local as=$1 wanted kind
    wanted=$(sed -n 's/.*weights fnv1a64 //p' "$scratch/$as")
    shift
    for kind in "$@"; do
        case $kind in local*) alone "$kind" ;; *) job "$kind" ;; esac
        expect "weights of $kind" "$hash" "$wanted"
    done
}
same dist_sync dist dist_device_sync dist_sync_device dist_device DIST_Sync
same local local_update_cpu local_allreduce_cpu
job dist_async_device # Not reproducible.

# refuse KIND TEXT: one sentence, and no success.
refuse() {
    timeout 20 "$digits" --kind "$1" >"$scratch/out" 2>"$scratch/err"
    expect "exit status of $1" $? 1
    expect "lines about $1" "$(wc -l <"$scratch/err") $(wc -l <"$scratch/out")" "1 0"
    expect_text "$1" "$scratch/err" "$2"
    say "$(cat "$scratch/err")"
}
for kind in device local_allreduce_device nccl; do
    refuse "$kind" "^digits: open: .*there is no CUDA.* 'local' does the same"
done
refuse dist_snyc "'dist_snyc'.*dist_sync.*local"
wait_for 5 "all processes to be gone" nothing_marked
pass
