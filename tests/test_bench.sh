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

refused --family gemm --shape 10x10
refused --family sparse --shape 4x4x4nt
refused --family elementwise --shape 4x4
refused --family rows --shape 4
refused --family columns
refused --shape 1x2x3x4
refused --kernel
refused --shape 0x1x1
refused --shape 4x4x4xx
refused --shape 4x4x4nnn
refused --isa neon
refused --threads 1,0
refused --rounds 0
refused --buffers warm
refused --zeros 101
refused --speed 3
refused --shape

"$bench" --help >"$folder/help"
grep -q -- --shape "$folder/help" || fail "--help does not name --shape"
"$bench" --no-peers --isa scalar --threads 1,2 --rounds 2 --seconds 0 --shape 7x5x9tn \
    --shape 3x4x5 --family gemm --out "$folder" >"$folder/table"
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

"$bench" --no-peers --threads 1 --rounds 1 --seconds 0 --buffers hot --family gemm --zeros 50 \
    --shape 64x200x100nn --out "$folder/zeros" >"$folder/table" || fail "--zeros 50"
grep -q '^64x200x100nn 50% 0 ' "$folder/table" || fail "a row of half zeros is not named so"

# Every family, with peers where there are some; each kernel of the list has its rows.
"$bench" --threads 1 --buffers hot --rounds 1 --seconds 0 --shape 17x5x64nn --shape 64x5x17tn \
    --shape 33 --shape 3x17 --out "$folder/all" >"$folder/table" 2>"$folder/err" ||
    fail "all families: $(cat "$folder/err")"
"$bench" --family rows --kernel softmax --isa scalar --threads 2 --buffers cold --rounds 1 \
    --seconds 0 --shape 5x33 --out "$folder/softmax" >"$folder/softmax.txt"
python3 - "$folder" <<'EOF' || fail "families' bench.json or bench.svg is not right"
import json, re, sys, xml.dom.minidom
rows = json.load(open(sys.argv[1] + "/all/bench.json"))["rows"]
listed = set(re.findall(r"X\([A-Z_]+, (\w+)\)", open("simd/kernel_list.h").read())) - {"name"}
found = {r["shape"].split()[0] for r in rows if r["family"] in ("elementwise", "rows")}
assert found == listed, found ^ listed
assert {r["shape"] for r in rows if r["family"] == "sparse"} == {"17x5x64nn", "64x5x17tn"}
assert {r["family"] for r in rows} == {"gemm", "sparse", "elementwise", "rows"}
for r in rows:
    ours = r["results"][0]
    assert r["peak"] > 0 and ours["value"] > 0 and ours["share"] > 0, r
    if r["shape"] == "exp_forward 33":
        assert 0.5 <= ours["ulp"] < 2, r
    for c in r["results"]:
        assert c["value"] is None or c["value"] >= 0, r
svg = xml.dom.minidom.parse(sys.argv[1] + "/all/bench.svg")
assert len(svg.getElementsByTagName("circle")) > len(rows)
softmax = json.load(open(sys.argv[1] + "/softmax/bench.json"))["rows"]
assert {r["shape"] for r in softmax} == {"softmax_forward 5x33", "softmax_backward 5x33",
                                         "softmax_cross_entropy 5x33"}, softmax
EOF
[ "$failed" = 0 ] && echo "bench: passed"
[ "$failed" = 0 ]
