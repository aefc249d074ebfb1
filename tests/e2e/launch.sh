#!/bin/bash
# What kvlaunch gives its workers, and what it makes of how they end.
. "$(dirname "$0")/lib.sh"
out=$scratch/out err=$scratch/err

# run STATUS ARGUMENTS...: output in $out and $err.
run() {
    local wanted=$1
    shift
    timeout 60 "${kvlaunch[@]}" "$@" >"$out" 2>"$err"
    expect "exit status of kvlaunch $*" $? "$wanted"
}

say "variables"
run 0 -n 3 -s 2 --quiet --env A=1 --env-worker B=2=2 --env-server C=3 -- sh -c '
    echo "$KV_RANK $KV_WORKERS $KV_SERVERS $KV_INCARNATION ${#KV_JOB}"
    echo "$DMLC_ROLE $DMLC_WORKER_ID $DMLC_RANK $DMLC_NUM_WORKER $DMLC_NUM_SERVER"
    [ "$KV_ROOT" = "$DMLC_PS_ROOT_URI:$DMLC_PS_ROOT_PORT" ] && echo "root"
    echo "$A $B ${C:-none}"
    stat -c %a "$KV_KEY_FILE" "$(dirname "$KV_KEY_FILE")"
    stat -c "%s bytes" "$KV_KEY_FILE"'
grep -F '[worker 2]' "$out" | sed 's/\[worker 2\] //' >"$scratch/got"
printf '%s\n' '2 3 2 1 32' 'worker 2 2 3 2' root '1 2=2 none' 600 700 \
    '32 bytes' >"$scratch/wanted"
diff "$scratch/got" "$scratch/wanted" || fail "variables of worker 2"
expect "lines" "$(wc -l <"$out")" 21

say "exit status"
run 3 -n 4 -s 1 -- sh -c '[ "$KV_RANK" != 2 ] || exit 3; sleep 60'
expect_text "failure" "$err" \
    '^kvlaunch: worker 2 \(pid [0-9]+\) exited with status 3; ending the others'
run 134 -n 2 -s 1 -- sh -c '[ "$KV_RANK" != 1 ] || kill -ABRT $$; sleep 60'
expect_text "signal" "$err" 'worker 1 \(pid [0-9]+\) was killed by SIGABRT'
run 0 -n 2 -s 1 -- sh -c '[ "$KV_RANK" != 1 ] || exit 0; sleep 0.2'

say "wrong usage"
refuse() {
    local text=$1
    shift
    run 2 "$@"
    expect "lines of $*" "$(wc -l <"$err")" 1
    expect_text "kvlaunch $*" "$err" "$text"
}
refuse "the program 'no-such-program' was not found" -n 1 -s 1 -- no-such-program
refuse "is not an executable file" -n 1 -s 1 -- ./Makefile
refuse "no program to run" -n 1 -s 1
refuse "'0' is not a number from 1 to 1024" -n 0 -s 1 -- true
refuse "'x' is not a number" -n 1 -s x -- true
refuse "'KV' is not of the form K=V" -n 1 -s 1 --env KV -- true
refuse "the server program '/none' was not found" --kvstored /none -n 1 -s 1 -- true
refuse "invalid choice: 'moon'" -n 1 -s 1 --launcher moon -- true
refuse "cannot use /none/" -n 1 -s 1 --arena-dir /none -- true
run 0 --help
run 0 --version
expect "version" "$(sed 's/kvlaunch//' "$out")" "$("$BUILD/kvstored" --version | sed 's/kvstored//')"
run 0 -n 2 -s 2 --dry-run -- echo 'two words'
expect_text "dry run" "$out" "^worker 1: .*KV_RANK=1.*echo 'two words'"
expect_text "dry run" "$out" '^server 1: .*kvstored .*--root 127.0.0.1:'

say "output"
run 0 -n 2 -s 1 --quiet -- sh -c '
    awk "BEGIN { for (i = 0; i < 200000; i++) print i \" abcdefghijklmnopqrstuvwxyz\" }"
    head -c 300000 /dev/zero | tr "\0" y
    echo; echo problem >&2; printf partial'
for rank in 0 1; do
    expect "numbers of $rank" "$(grep -cE "^\[worker $rank\] [0-9]+ abcdefghijklmnopqrstuvwxyz$" "$out")" 200000
    expect "long line of $rank" "$(grep -cE "^\[worker $rank\] y+$" "$out")" 1
    expect_text "partial line" "$out" "^\[worker $rank\] partial$"
    expect_text "stderr" "$err" "^\[worker $rank\] problem$"
done
expect "lines" "$(wc -l <"$out")" 400004
"${kvlaunch[@]}" --quiet -n 2 -s 1 -- sh -c 'while echo again; do :; done' 2>/dev/null | head -n 1 >"$out"
expect "reader that leaves" "$(cut -c 1-8 "$out")" "[worker "

say "the last line says that nothing is left"
run 0 -n 1 -s 1 -- true
expect "the last line" "$(tail -n 1 "$err" | sed 's/-[0-9a-f]*$//')" "kvlaunch: ended; removing $shm/kvlaunch"
[ ! -e "$(sed -n 's/^kvlaunch: ended; removing //p' "$err")" ] || fail "the directory is still there"

say "a server that cannot start"
run 1 --kvstored /bin/false -n 2 -s 1 -- sleep 60
expect_text "server" "$err" 'server 0 \(pid [0-9]+\) could not start: it exited with status 1'

wait_for 5 "all processes to be gone" nothing_marked
pass
