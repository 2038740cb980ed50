#!/usr/bin/env bash
# test_install.sh: `make install` puts everything where it belongs, a program builds against it by
# pkg-config alone, and `make uninstall` leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS

checks=0 failures=0
check() { # check WHAT COMMAND...: COMMAND must succeed
    local what=$1
    shift
    checks=$((checks + 1))
    if ! "$@"; then
        echo "test_install.sh: FAILED: $what" >&2
        failures=$((failures + 1))
    fi
}

root=$(mktemp -d "${TMPDIR:-/tmp}/ptrain-install.XXXXXX")
trap 'rm -rf "$root"' EXIT
prefix=/opt/ptrain
cc=${CC:-gcc}
make_it() {
    make --no-print-directory CC="$cc" DESTDIR="$root" PREFIX=$prefix "$@"
}

make_it install
at=$root$prefix
for file in bin/ptrain lib/libptrain.a lib/pkgconfig/ptrain.pc share/man/man1/ptrain.1 \
    include/ptrain/ptrain.h; do
    check "$file is installed" test -s "$at/$file"
done
for header in include/ptrain/*.h; do
    check "$header is installed as it is" cmp -s "$header" "$at/$header"
done
# DESTDIR is where a package is put together; nothing may remember it.
check "no file names DESTDIR" sh -c "! grep -rq '$root' '$at/lib/pkgconfig' '$at/share'"
check "ptrain.pc has the prefix" grep -qx "prefix=$prefix" "$at/lib/pkgconfig/ptrain.pc"
check "no placeholder is left" sh -c "! grep -q '@[A-Z]*@' '$at/lib/pkgconfig/ptrain.pc' '$at/share/man/man1/ptrain.1'"
version=$("$at/bin/ptrain" --version)
check "program and ptrain.pc have one version" \
    grep -qx "Version: ${version#ptrain }" "$at/lib/pkgconfig/ptrain.pc"

# The example, in a folder of its own, with what pkg-config says and nothing else.
mkdir "$root/example"
cp tests/example_api.c "$root/example/"
export PKG_CONFIG_PATH=$at/lib/pkgconfig
read -ra flags <<<"$(pkg-config --define-variable=prefix="$at" --cflags --libs --static ptrain)"
libdir=()
if [[ $cc == *clang* ]]; then
    # Debian keeps clang's OpenMP runtime beside the compiler.
    libdir=("-L$(dirname "$(readlink -f "$(command -v "${cc%% *}")")")/../lib")
fi
(
    cd "$root/example"
    "${cc%% *}" -std=c17 -Wall -Wextra -Wpedantic -Werror example_api.c ${libdir[@]+"${libdir[@]}"} \
        "${flags[@]}" -o example
)
check "the example runs" "$root/example/example" "$root/example" >"$root/example/out"
check "it learns XOR" grep -qx '1 xor 1 = 0' "$root/example/out"
sum=$(sha256sum "$root/example/xor.safetensors")
check "it prints its model's SHA-256" grep -qx "sha256 ${sum%% *}" "$root/example/out"
# C++ programs may include the headers too.
if command -v g++ >/dev/null 2>&1; then
    echo '#include <ptrain/ptrain.h>' >"$root/example/headers.cc"
    check "the headers are C++ as well" \
        g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$at/include" "$root/example/headers.cc"
fi
rm -r "$root/example"

make_it uninstall
check "uninstall leaves no file" test -z "$(find "$root" -type f)"
check "uninstall leaves no folder of ptrain" test ! -e "$at/include/ptrain"

echo "test_install.sh: $checks checks, $failures failed"
[ "$failures" = 0 ]
