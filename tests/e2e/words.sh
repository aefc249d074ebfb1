#!/bin/bash
# Word vectors of a real text: row_sparse tables that two workers learn together.
. "$(dirname "$0")/lib.sh"
command -v bible >/dev/null ||
    fail "the text is missing: there is no program 'bible' (package bible-kjv; scripts/install-deps installs it)"

# train NAME KIND KVLAUNCH-OPTIONS...: one pass; output in $scratch/NAME.
train() {
    local to=$scratch/$1 kind=$2
    shift 2
    timeout 240 "${kvlaunch[@]}" -n 2 "$@" -- "$BUILD/examples/words" --kind "$kind" --passes 1 \
        --near david,bread,nosuchword >"$to" 2>"$to.err" || fail "$to: $(tail -c 2000 "$to.err")"
    learned "$to"
}

# learned FILE: the loss falls to less than 0.85 of its start; neighbours are kin.
learned() {
    expect "lines of losses in $1" "$(grep -c 'of 10: loss' "$1")" 10
    awk '/of 10: loss/ { for (i = 1; i < NF; i++) if ($i == "loss") loss[n++] = $(i + 1) }
        END { exit !(loss[9] < 0.85 * loss[0] && loss[9] > 1) }' "$1" || fail "the loss does not fall: $(cat "$1")"
    expect_text "who is near to david" "$1" 'david:.* (saul|joab|absalom|samuel|jonathan|abner)'
    expect_text "what is near to bread" "$1" 'bread:.* (eat|drink|unleavened|wine)'
    expect_text "an unknown word" "$1" 'nosuchword: is not in the text'
    expect_text "figures" "$1" "(1 workers, 0|2 workers, [12]) servers, [0-9]+ rounds, [0-9.]+ s, [0-9]+ words/s, [0-9.]+ MB"
    hash=$(sed -n 's/.*rows fnv1a64 //p' "$1")
    expect "length of the hash" "${#hash}" 16
}

say "dist_sync, 2 workers and 2 servers"
train sync dist_sync -s 2
first=$hash
moved=$(sed -n 's/.* words\/s, \([0-9]*\).* MB .*/\1/p' "$scratch/sync")
rounds=$(sed -n 's/.* servers, \([0-9]*\) rounds.*/\1/p' "$scratch/sync")

say "a step moves a part of the tables, not all of them"
words=12000 # And more; a row is 64 floats. Whole tables: 2, pushed and pulled.
[ "$moved" -lt $((rounds * words * 64 * 4 * 4 / 1000000 / 10)) ] || fail "$moved MB moved in $rounds rounds"

say "the same bits from one server that is killed meanwhile"
train killed dist_sync -s 1 --chaos 2 --chaos-within 0.5
expect "hash" "$hash" "$first"
expect_text "kills" "$scratch/killed.err" 'killed servers [12] times'

say "dist_async"
train async dist_async -s 2

say "local"
timeout 240 "$BUILD/examples/words" --kind local --passes 1 --near david,bread,nosuchword \
    >"$scratch/local" 2>"$scratch/local.err" || fail "local: $(cat "$scratch/local.err")"
learned "$scratch/local"

# refuse TEXT ARGUMENTS...; $path is where the program finds others.
path=$PATH
refuse() {
    local text=$1
    shift
    timeout 20 env PATH="$path" "$BUILD/examples/words" --kind local "$@" >"$scratch/out" 2>"$scratch/err" && fail "words $* succeeded"
    expect_text "words $*" "$scratch/err" "$text"
}

say "no text, and wrong options"
path=/nowhere refuse 'install the package bible-kjv, or name another text with --text'
refuse '/nowhere: there is no text' --text /nowhere
refuse 'has no words' --text <(echo 1 2 3)
refuse 'needs a number from 1' --passes 0
refuse '--pases: is no option' --pases 1
refuse '--passes: is no option, or lacks its value' --passes
wait_for 5 "all processes to be gone" nothing_marked
pass
