#!/usr/bin/env bash
# check-shim.sh: whether shim.so sees every system call by which ptrain changes the run's folder.
#
# Usage: tests/torture/check-shim.sh PTRAIN SHIM
#
# Runs configs/xor.ini once under strace and the shim together, and compares who saw what. (close
# is left out: strace also sees those of files that were only read.)
set -euo pipefail

ptrain=$1
shim=$2
if ! strace -o /dev/null true 2>/dev/null; then
    echo "check-shim: skipped: no strace, or it may not trace here"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

strace -f -y -qq -o "$work/strace" -e trace=file,desc \
    -E PT_FAULT=trace -E PT_FAULT_FOLDER="$work/run" -E PT_FAULT_LOG="$work/log" \
    -E LD_PRELOAD="$shim" \
    "$ptrain" configs/xor.ini --quiet --out "$work/run" --set output.checkpoint_every=500 \
    --set output.best=true --set output.keep=1 --set output.progress=off

# Names of calls that concern the run's folder and can change it, counted. Where strace shows a call
# in two halves, the first one names the path.
grep -F "$work/run" "$work/strace" | grep -v -e ' resumed>' -e "<$work/log>" |
    sed -nE 's/^[0-9]+ +([a-z0-9_]+)\((.*)/\1 \2/p' |
    awk '$1 == "openat" && !/O_WRONLY|O_RDWR|O_CREAT/ { next }
         $1 ~ /^(openat|open|creat)$/ { print "open"; next }
         $1 ~ /^(pwrite|write|pwritev|writev|sendfile|copy_file_range|fallocate)/ { print "write"; next }
         $1 ~ /^(fsync|fdatasync|sync)/ { print "fsync"; next }
         $1 ~ /^(rename|link|symlink)/ { print "rename"; next }
         $1 ~ /^(unlink|rmdir|mkdir|ftruncate|truncate|chmod|fchmod)/ { print $1; next }' |
    sort | uniq -c >"$work/seen"
# Opening a folder changes nothing: it is for the sake of fsync.
grep -vxF "open $work/run" "$work/log" | grep -v '^close ' | cut -d' ' -f1 | sort | uniq -c >"$work/shim"

if ! diff "$work/seen" "$work/shim" >"$work/diff"; then
    echo "check-shim: FAILED: strace (<) and the shim (>) differ:" >&2
    cat "$work/diff" >&2
    exit 1
fi
echo "check-shim: the shim saw what strace saw:$(awk '{ printf " %d %s", $1, $2 }' "$work/shim")"
