#!/usr/bin/env bash
# test_bench.sh: the benchmark tool's options and files, in a few seconds and without peers.
set -euo pipefail
cd "$(dirname "$0")/.."

"${MAKE:-make}" --no-print-directory bench-build >/dev/null
bench=$PT_BUILD/bench/bench
folder=$(mktemp -d "${TMPDIR:-/tmp}/ptrain-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
failed=0

fail() {
    echo "FAILED bench: $*" >&2
    failed=1
}

refused() { # ARGUMENTS: status 2, one line on stderr, no file
    local status=0
    "$bench" --out "$folder/refused" "$@" >/dev/null 2>"$folder/err" || status=$?
    [ "$status" = 2 ] || fail "$*: exit status $status, expected 2"
    [ "$(wc -l <"$folder/err")" = 1 ] || fail "$*: not one line of error"
    [ ! -e "$folder/refused" ] || fail "$*: wrote files"
}

refused --shape 10x10
refused --shape 0x1x1
refused --shape 4x4x4xx
refused --shape 4x4x4nnn
refused --isa neon
refused --threads 1,0
refused --rounds 0
refused --buffers warm
refused --speed 3
refused --shape

"$bench" --help >"$folder/help"
grep -q -- --shape "$folder/help" || fail "--help does not name --shape"
"$bench" --no-peers --isa scalar --threads 1,2 --rounds 2 --seconds 0 --shape 7x5x9tn \
    --shape 3x4x5 --out "$folder" >"$folder/table"
grep -q '^7x5x9tn ' "$folder/table" || fail "no row in the table"
python3 - "$folder" <<'EOF' || fail "bench.json or bench.svg is not right"
import json, sys, xml.dom.minidom
rows = json.load(open(sys.argv[1] + "/bench.json"))["rows"]
assert {(r["shape"], r["threads"], r["buffers"]) for r in rows} == {
    (s, t, b) for s in ("7x5x9tn", "3x4x5nn") for t in (1, 2) for b in ("hot", "cold")}, rows
assert all(r["peak"] > 0 and [c["name"] for c in r["results"]] == ["ptrain"] and
           r["results"][0]["value"] > 0 for r in rows), rows
svg = xml.dom.minidom.parse(sys.argv[1] + "/bench.svg")
assert len(svg.getElementsByTagName("circle")) == len(rows) + 1  # and the key's
EOF
[ "$failed" = 0 ] && echo "bench: passed"
[ "$failed" = 0 ]
