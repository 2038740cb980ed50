#!/usr/bin/env bash
# run.sh: runs fuzzers for so many seconds each, two at a time; fails when one finds something.
#
# Usage: tests/fuzz/run.sh SECONDS FUZZER...
#
# A fuzzer `.../NAME` starts from tests/fuzz/corpus/NAME and tests/fuzz/NAME.dict. What it learns
# stays in build/fuzz/NAME for the next time; inputs that break something are put beside, as
# build/fuzz/NAME-crash-* and so on.
set -euo pipefail

seconds=$1
shift
mkdir -p build/fuzz

fuzz_one() { # fuzz_one SECONDS FUZZER
    local name log
    name=$(basename "$2")
    name=${name#fuzz_}
    log=build/fuzz/$name.log
    mkdir -p "build/fuzz/$name"
    local arguments=(-max_total_time="$1" -timeout=60 -rss_limit_mb=2048 -malloc_limit_mb=512
        -max_len=16384 -print_final_stats=1 -artifact_prefix="build/fuzz/$name-")
    [ ! -f "tests/fuzz/$name.dict" ] || arguments+=(-dict="tests/fuzz/$name.dict")
    local status=0
    "$2" "${arguments[@]}" "build/fuzz/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1 </dev/null ||
        status=$?
    if [ "$status" -ne 0 ]; then
        echo "fuzz: $name: FAILED (status $status), see $log"
        tail -n 40 "$log"
        return 1
    fi
    awk -v name="$name" '/number_of_executed_units/ { runs = $2 } / cov: / { line = $0 }
        END { sub(/.*cov: /, "", line); split(line, f, " ")
              printf "fuzz: %-12s %10d executions, %5d branches, no findings\n", name, runs, f[1] }' "$log"
}
export -f fuzz_one

# shellcheck disable=SC2016 # the inner shell expands these
printf '%s\0' "$@" | xargs -0 -n 1 -P 2 bash -c 'fuzz_one "$0" "$1" || exit 255' "$seconds" ||
    { echo "fuzz: FAILED"; exit 1; }
echo "fuzz: $# targets, no findings"
