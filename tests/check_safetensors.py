#!/usr/bin/env python3
"""Checks files written by ptrain with a reader of its own: python3 check_safetensors.py FILE...

Uses nothing but Python's standard library, and nothing of ptrain. Prints one line per tensor
(name, shape, sum of the elements) and exits 1 with the reason when something is wrong.
"""

import hashlib
import json
import math
import struct
import sys


def no_duplicates(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), "duplicate key"
    return dict(pairs)


def check(path):
    with open(path, "rb") as file:
        blob = file.read()
    assert len(blob) >= 8, "shorter than its length prefix"
    (length,) = struct.unpack("<Q", blob[:8])
    assert length <= 100_000_000 and 8 + length <= len(blob), "header beyond the file"
    assert (8 + length) % 64 == 0, "data not aligned to 64 bytes"
    text, data = blob[8 : 8 + length], blob[8 + length :]
    assert text.startswith(b"{"), "header does not start with {"
    assert text.rstrip(b" ").endswith(b"}"), "header not padded with spaces alone"
    header = json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)

    assert list(header) == sorted(header, key=str.encode), "names not sorted"
    metadata = header.pop("__metadata__")
    assert list(metadata) == sorted(metadata, key=str.encode), "metadata keys not sorted"
    assert all(isinstance(value, str) for value in metadata.values()), "metadata not strings"

    end = 0
    for name, tensor in header.items():
        assert sorted(tensor) == ["data_offsets", "dtype", "shape"], name + ": wrong keys"
        assert tensor["dtype"] == "F32", name + ": wrong dtype"
        begin, stop = tensor["data_offsets"]
        assert begin == end, name + ": a hole or an overlap before it"
        count = math.prod(tensor["shape"])
        assert stop - begin == 4 * count, name + ": wrong size"
        values = struct.unpack("<%df" % count, data[begin:stop])
        print(name, tensor["shape"], math.fsum(values) if count else 0.0)
        end = stop
    assert end == len(data), "bytes after the last tensor"

    assert metadata["writer"] == "ptrain", "written by someone else"
    digits = metadata["checksum"].encode()
    assert len(digits) == 64 and blob.count(b'"checksum":"' + digits + b'"') == 1, "no checksum"
    at = blob.index(b'"checksum":"' + digits) + len(b'"checksum":"')
    zeroed = blob[:at] + b"0" * 64 + blob[at + 64 :]
    assert hashlib.sha256(zeroed).hexdigest().encode() == digits, "wrong checksum"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        try:
            check(argument)
        except (AssertionError, ValueError, KeyError) as problem:
            sys.exit("%s: %s" % (argument, problem))
