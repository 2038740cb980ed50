#!/usr/bin/env bash
# auto.sh: `threads = auto` against every fixed number of threads: on small, usual and wide networks, on
# the whole machine, on one core, under a CPU quota, and beside a busy process; round by round, medians
# of samples per second.
#
# Usage: bench/auto.sh [ROUNDS=5]                  environment: PT_BINARY
# A quota needs a cgroup that this user may make (v2: cpu.max; v1: cpu.cfs_quota_us); else it is left out.
set -euo pipefail
# shellcheck source=bench/rounds.sh
. "$(dirname "$0")/rounds.sh"
cd "$(dirname "$0")/.."
ptrain=${PT_BINARY:-./ptrain}
rounds=${1:-5}
folder=$(mktemp -d)
busy=
group=

cleanup() {
    [ -z "$busy" ] || kill "$busy" 2>/dev/null || true
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT

# A tiny network for 8 rows at a time, of 4 numbers each.
awk 'BEGIN { srand(1); for (i = 0; i < 600; i++) { for (j = 0; j < 4; j++) printf "%.3f,", rand();
    print i % 3 } }' >"$folder/tiny.csv"
cat >"$folder/tiny.ini" <<EOF
[data]
dataset = csv
train_file = $folder/tiny.csv
test_file = $folder/tiny.csv
target = label
[layer.fc1]
type = affine
units = 16
[layer.relu1]
type = relu
[layer.fc2]
type = affine
units = 3
[loss]
type = softmax_cross_entropy
[train]
batch_size = 8
EOF

speed() { # speed COMMAND...: samples per second of one training
    rm -rf "$folder/run"
    "$@" --quiet --out "$folder/run" --set train.evaluate=false >/dev/null
    grep -o '"samples_per_second": [0-9.]*' "$folder/run/summary.json" | cut -d' ' -f2
}

median() {
    sort -g | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'
}

measure() { # measure WHERE NAME ITERATIONS CONFIG [OPTIONS...], run by the words in `wrap`
    local where=$1 name=$2 iterations=$3 threads round
    shift 3
    for threads in auto "${counts[@]}"; do : >"$folder/$threads"; done
    for ((round = 0; round < rounds; round++)); do
        for threads in auto "${counts[@]}"; do
            speed "${wrap[@]}" "$ptrain" "$@" --threads "$threads" \
                --set train.iterations="$iterations" >>"$folder/$threads"
        done
    done
    local auto best=0 of=1 now text=
    auto=$(median <"$folder/auto")
    for threads in "${counts[@]}"; do
        now=$(median <"$folder/$threads")
        text+="$(printf '%12d' "$now")"
        if [ "$now" -gt "$best" ]; then best=$now of=$threads; fi
    done
    printf '%-12s %-12s %12d%s   auto is %5.1f%% of the best (%d)\n' "$where" "$name" "$auto" "$text" \
        "$(awk -v a="$auto" -v b="$best" 'BEGIN { print 100 * a / b }')" "$of"
}

all_workloads() { # all_workloads WHERE
    measure "$1" "book's net" 30000 configs/mnist.ini
    measure "$1" "wide net" 500 configs/mnist-wide.ini
    measure "$1" "tiny net" 400000 "$folder/tiny.ini"
    measure "$1" "batch 4096" 1000 configs/mnist.ini --set train.batch_size=4096
}

# Runs a command in the group.
cat >"$folder/inside" <<'EOF'
#!/bin/sh
echo $$ >"$1/cgroup.procs"
shift
exec "$@"
EOF
chmod +x "$folder/inside"

make_group() { # make_group CPUS: a cgroup with that quota, if this user may
    local root=/sys/fs/cgroup name=ptrain-auto-$$
    if mkdir "$root/$name" 2>/dev/null && [ -w "$root/$name/cpu.max" ]; then
        group=$root/$name
        echo "$(($1 * 100000)) 100000" >"$group/cpu.max"
    elif rmdir "$root/$name" 2>/dev/null || true && mkdir "$root/cpu/$name" 2>/dev/null; then
        group=$root/cpu/$name
        echo $(($1 * 100000)) >"$group/cpu.cfs_quota_us"
    else
        return 1
    fi
}

cores=$(nproc)
counts=()
for ((i = 1; i <= cores; i *= 2)); do counts+=("$i"); done
[ "${counts[-1]}" = "$cores" ] || counts+=("$cores")
grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: /CPU: /'
echo "cores: $cores, rounds: $rounds; samples per second with auto and with ${counts[*]} threads"
wrap=(env)
all_workloads "free"
wrap=(taskset -c 0)
all_workloads "one core"
if make_group $((cores > 1 ? cores / 2 : 1)); then
    wrap=("$folder/inside" "$group")
    all_workloads "quota"
else
    echo "quota: left out, this user may not make a cgroup"
fi
wrap=(env)
(while :; do :; done) &
busy=$!
all_workloads "neighbour"
