# shellcheck shell=bash
# rounds.sh: sourced by the scripts beside it, whose only argument is a number of rounds: answers --help with
# the script's own first lines, and ends it with status 2 on anything but a number.
case ${1:-} in
-h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
"" | *[!0-9]*)
    [ $# -eq 0 ] || { echo "$0: '$1': write a number of rounds" >&2 && exit 2; }
    ;;
esac
