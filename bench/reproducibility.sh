#!/usr/bin/env bash
# reproducibility.sh: what one seed, one model costs: the default against the same training relaxed in
# the ways that would be fastest, round by round, medians of samples per second.
#
# Relaxed: `one chain` sums the whole mini-batch in one chain (shards = 1, no tree at all); `per-thread`
# gives each thread one shard (shards = threads), so that the numbers depend on the thread count.
#
# Usage: bench/reproducibility.sh [ROUNDS=7]      environment: PT_BINARY, THREADS (default 2)
set -euo pipefail
# shellcheck source=bench/rounds.sh
. "$(dirname "$0")/rounds.sh"
cd "$(dirname "$0")/.."
ptrain=${PT_BINARY:-./ptrain}
rounds=${1:-7}
threads=${THREADS:-2}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

speed() { # speed CONFIG OPTIONS...: samples per second of one run
    local config=$1
    shift
    rm -rf "$folder/run"
    "$ptrain" "$config" --quiet --out "$folder/run" --threads "$threads" \
        --set train.evaluate=false "$@" >/dev/null
    grep -o '"samples_per_second": [0-9.]*' "$folder/run/summary.json" | cut -d' ' -f2
}

median() {
    sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

measure() { # measure NAME CONFIG ITERATIONS
    local name=$1 config=$2 iterations=$3 way round
    for way in default one-chain per-thread; do : >"$folder/$way"; done
    for ((round = 0; round < rounds; round++)); do
        speed "$config" --set train.iterations="$iterations" >>"$folder/default"
        speed "$config" --set train.iterations="$iterations" --set parallel.shards=1 >>"$folder/one-chain"
        speed "$config" --set train.iterations="$iterations" --set parallel.shards="$threads" \
            --set parallel.schedule=per_thread >>"$folder/per-thread"
    done
    local default
    default=$(median <"$folder/default")
    for way in default one-chain per-thread; do
        median <"$folder/$way" | awk -v n="$name" -v w="$way" -v d="$default" \
            '{ printf "%-12s %-12s %12.0f samples/s   default is %+.1f%%\n", n, w, $1, (d / $1 - 1) * 100 }'
    done
}

grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: /CPU: /'
echo "threads: $threads, rounds: $rounds"
measure "book's net" configs/mnist.ini 10000
measure "wide net" configs/mnist-wide.ini 150
