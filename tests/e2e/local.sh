#!/bin/bash
# A real job without servers; and the same one with a server.
. "$(dirname "$0")/lib.sh"

say "digits by itself"
timeout 120 "$BUILD/examples/digits" --kind local --epochs 6 >"$scratch/local" || fail "digits"
expect_text "local" "$scratch/local" '^1 workers, 0 servers, .* test accuracy 0\.9'

say "one worker and a server come to the same weights"
timeout 120 "${kvlaunch[@]}" -n 1 -s 1 --quiet -- "$BUILD/examples/digits" --epochs 6 >"$scratch/dist" || fail "kvlaunch"
expect "weights" "$(sed -n 's/.*weights fnv1a64 //p' "$scratch/local")" \
    "$(sed -n 's/.*weights fnv1a64 //p' "$scratch/dist")"
pass
