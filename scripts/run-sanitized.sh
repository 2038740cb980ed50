#!/usr/bin/env bash
# run-sanitized.sh: runs a test driver that was built with a sanitizer; fails on any report.
#
# Usage: scripts/run-sanitized.sh address|undefined|thread DRIVER [SUITE]...
#
# The driver's tests start the ptrain program (PT_BINARY) and expect it to fail now and then, so an
# exit status alone could hide a report: every process writes its reports into a folder, which must
# hold none in the end.
set -euo pipefail

kind=$1
driver=$2
shift 2

logs=build/sanitizer-logs/$kind
rm -rf "$logs"
mkdir -p "$logs"

common="log_path=$PWD/$logs/report:exitcode=99"
# Tests hand absurd sizes to the allocator: it shall answer NULL, as malloc does. (Not switched on:
# detect_stack_use_after_return, whose frames gcc 12 aligns too little for AVX-512, gcc PR 110027.)
export ASAN_OPTIONS="$common:detect_leaks=1:allocator_may_return_null=1"
export LSAN_OPTIONS="$common"
export UBSAN_OPTIONS="$common:print_stacktrace=1"
# The longest memory of accesses: a race whose first half has been forgotten is not reported.
export TSAN_OPTIONS="$common:allocator_may_return_null=1:ignore_noninstrumented_modules=1:history_size=7"
# Fewer cases, where a test has very many.
export PT_TEST_QUICK=1

if [ "$kind" = thread ]; then
    # Archer tells ThreadSanitizer of OpenMP's barriers. Without it every barrier looks like a race.
    archer=
    for folder in "$(dirname "$(readlink -f "$(command -v "${CC:-clang}")")")/../lib" \
        /usr/lib/llvm-*/lib /usr/lib64 /usr/lib /usr/lib/*-linux-gnu; do
        if [ -e "$folder/libarcher.so" ]; then
            archer=$folder/libarcher.so
            break
        fi
    done
    if [ -z "$archer" ]; then
        echo "run-sanitized.sh: libarcher.so not found; install libomp-dev" >&2
        exit 1
    fi
    export OMP_TOOL_LIBRARIES=$archer
fi

# As many processes as cores, each of a small share of the tests: some take much longer than others.
# (Of named suites a small share might hold none, which fails.)
cores=$(nproc)
parts=$((cores * ($# > 0 ? 1 : 8)))
status=0
for ((part = 0; part < parts; part++)); do
    if [ "$part" -ge "$cores" ]; then
        wait -n || status=$?
    fi
    PT_TEST_PART=$part/$parts "$driver" "$@" </dev/null >"$logs/output.$part" 2>&1 &
done
for ((part = 0; part < cores; part++)); do
    wait -n || status=$?
done
# Everything they said, their counts added up into one line.
awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; next } { print }
     END { print passed + 0 " passed, " failed + 0 " failed" }' "$logs"/output.*
for log in "$logs"/report.*; do
    [ -e "$log" ] || continue
    echo "--- $log"
    head -n 80 "$log"
    status=99
done >&2
if [ "$status" -ne 0 ]; then
    echo "run-sanitized.sh: $kind: FAILED (status $status)" >&2
    exit 1
fi
echo "$kind sanitizer: no reports"
