#!/usr/bin/env bash
# test_promises.sh: what the README promises of the bits: the published model, the same everywhere.
#
# Needs data/mnist and a built ./ptrain (environment PT_BINARY: another one). Prints "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

ptrain=${PT_BINARY:-./ptrain}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0
failed=0

check() { # check WHAT COMMAND...: passes when the command does
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what" >&2
    fi
}

sum_of() { # sum_of OPTIONS...: SHA-256 of the model that configs/mnist.ini trains
    rm -rf "$folder/run"
    # shellcheck disable=SC2086 # QUIET is an option or nothing
    "$ptrain" configs/mnist.ini ${QUIET---quiet} --out "$folder/run" "$@" >"$folder/out" 2>"$folder/err" ||
        cat "$folder/err" >&2
    sha256sum "$folder/run/model.safetensors" | cut -d' ' -f1
}

verify() { # verify CONFIG OPTIONS...: every row of the matrix has one hash
    "$ptrain" verify "$@" >"$folder/table" && ! grep -q DIFFERENT "$folder/table"
}

# The hash on the README's first screen is the model of configs/mnist.ini.
published=$(grep -oE '\b[0-9a-f]{64}\b' README.md | head -n 1)
check "README.md shows a SHA-256" [ -n "$published" ]
check "configs/mnist.ini trains the published model" [ "$(sum_of)" = "$published" ]
check "on one thread" [ "$(sum_of --threads 1)" = "$published" ]
check "on three threads, per-thread gradients, AVX2 where there is one" \
    [ "$(PTRAIN_ISA=$(grep -qw avx2 /proc/cpuinfo && echo avx2 || echo auto) sum_of --threads 3 \
        --set parallel.schedule=per_thread)" = "$published" ]
check "with the loader's thread, in a locale with a decimal comma" \
    [ "$(LC_ALL=de_DE.UTF-8 sum_of --set parallel.loader=on)" = "$published" ]
check "with a dotless i" [ "$(LC_ALL=tr_TR.UTF-8 sum_of --threads 2)" = "$published" ]
check "with the table and the progress bar drawn" \
    [ "$(QUIET='' sum_of --set output.progress=on)" = "$published" ]

# The matrix of instruction sets, threads, schedules and resume points: the book's net, the wide net,
# every layer with every optimizer, every loss.
check "verify mnist" verify configs/mnist.ini
check "verify mnist-wide" verify configs/mnist-wide.ini --set train.batch_size=20
for optimizer in sgd momentum adam; do
    check "verify every-layer with $optimizer" verify configs/every-layer.ini \
        --set optimizer.type=$optimizer --set train.iterations=30
done
check "verify mean_squared_error" verify configs/mnist.ini --set loss.type=mean_squared_error \
    --set train.iterations=20 --set data.limit=3000
check "verify the shop graph" verify configs/apple.ini
check "verify denormals at the start" verify configs/mnist.ini --set train.iterations=20 \
    --set data.limit=3000 --set 'layer.fc1.init=constant(1e-40)'
check "verify denormals" verify configs/denormals.ini --set train.iterations=30

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
