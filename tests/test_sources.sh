#!/usr/bin/env bash
# test_sources.sh: what the README says of the sources: which folders use which, and that a listing of
# the layer types is all there is to add a layer to. Prints "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

passed=0
failed=0

check() { # check WHAT FOUND: passes when nothing was found
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s:\n%s\n' "$1" "$2" >&2
    fi
}

includes=$(grep -nE '^#include "' src/*/*.[ch] simd/*.[ch])
[ "$(wc -l <<<"$includes")" -gt 100 ] || check "the includes are found" "only ${includes:-none}"

# src/4_train/x.c:7:#include "5_results/y.h": folder 4 uses folder 5.
check "folders of src/ use only those before them" \
    "$(sed -nE 's|^src/([0-9])_[^:]*:[0-9]+:#include "([0-9])_.*|\1 \2 &|p' <<<"$includes" |
        awk '$2 > $1 { $1 = $2 = ""; print }')"
check "simd/ uses nothing of src/ but its foundation" \
    "$(grep -E '^simd/' <<<"$includes" | grep -E '#include "[0-9]_')"
check "OpenMP is in one file" \
    "$(grep -lE 'omp\.h|#pragma omp' src/*/*.[ch] simd/*.[ch] | grep -v '^src/4_train/workers.c$')"
check "every allocation is in one file" \
    "$(grep -nE '[^_a-z](malloc|calloc|realloc|aligned_alloc|strdup) ?\(' src/*/*.c simd/*.c |
        grep -v '^src/0_base/memory.c:')"
check "every layer type has its file or its line" \
    "$(sed -nE 's/^ *X\(([a-z_]+)\).*/\1/p' src/1_config/layer_types.h | while read -r type; do
        grep -qE "pt_layer_$type\b|ACTIVATION\($type," src/3_graph/layer_*.c || echo "$type"
    done)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
