#!/usr/bin/env bash
# A local cluster with a first update: run-demo.sh PROGRAM [flags of "zonekeeper dev"]. Called by `make run`.
#
# Stays in the foreground until Ctrl-C; with RUN_ONCE=1 it ends after the demonstration, with exit code 0
# only if every step worked.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

program=$1
shift
PATH=$PATH:/usr/sbin:/sbin

# The caller may have chosen the directory; dev needs to be told of ours otherwise.
dir=
for ((i = 1; i <= $#; i++)); do
    case ${!i} in
    --dir) j=$((i + 1)) dir=${!j:-} ;;
    --dir=*) dir=${!i#--dir=} ;;
    esac
done
ours=
if [ -z "$dir" ]; then
    ours=yes
    dir=$(mktemp -d "${TMPDIR:-/tmp}/zonekeeper-run-XXXXXX")
    set -- --dir "$dir" "$@"
fi
mkdir -p "$dir"
# RUN_ONCE is for machines on which several may run at once.
if [ "${RUN_ONCE:-}" = 1 ]; then set -- --port 0 "$@"; fi

intro=$dir/introduction.txt
"$program" dev "$@" >"$intro" &
dev=$!
trap 'kill -TERM $dev 2>/dev/null || true; wait $dev 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

say "starting primaries and secondaries, each with its own BIND, in $dir"
for _ in $(seq 900); do
    [ -s "$dir/dev.json" ] && break
    kill -0 "$dev" 2>/dev/null || { trap - EXIT; wait "$dev" || exit $?; exit 1; }
    sleep 0.1
done
[ -s "$dir/dev.json" ] || die "the cluster is not ready after 90 s" "its logs: $dir/*/log"

field() { sed -n "s/^ *\"$1\": \"\\([^\"]*\\)\".*/\\1/p" "$dir/dev.json" | head -1; }
endpoint=$(field endpoint)
host=${endpoint%:*} port=${endpoint##*:}
key=$(field algorithm):$(sed -n '/"key"/,/}/s/^ *"name": "\([^"]*\)".*/\1/p' "$dir/dev.json"):$(field secret)
zone=$(sed -n '/"zones"/,/\]/s/^ *"\([^"]*\)",\{0,1\}$/\1/p' "$dir/dev.json" | head -1)

echo
echo "An update, as any RFC 2136 client sends it:"
echo "  nsupdate: update add hello.$zone 300 A 192.0.2.1"
nsupdate -y "$key" <<END
server $host $port
zone $zone
update add hello.$zone 300 A 192.0.2.1
send
END
answer=$(dig +short +time=5 @"$host" -p "$port" "hello.$zone" A)
echo "  dig:      hello.$zone has address $answer"
[ "$answer" = 192.0.2.1 ] || die "the answer is '$answer', not 192.0.2.1" "the logs: $dir/primary-*/log"

echo
echo "The secondaries, which the world asks, serve it:"
secondaries=$(sed -n '/"secondaries"/,/\]/{/"name"/{s/.*: "\(.*\)".*/\1/;h};/"dns"/{s/.*: "\(.*\)".*/\1/;H;x;s/\n/=/p}}' "$dir/dev.json")
for secondary in $secondaries; do
    address=${secondary#*=}
    for _ in $(seq 100); do # it is there within milliseconds, and on a busy machine a little later
        answer=$(dig +short +time=5 @"${address%:*}" -p "${address##*:}" "hello.$zone" A)
        [ "$answer" = 192.0.2.1 ] && break
        sleep 0.1
    done
    [ "$answer" = 192.0.2.1 ] || die "${secondary%%=*} answers '$answer', not 192.0.2.1" "its log: $dir/${secondary%%=*}/log"
    echo "  ${secondary%%=*} ($address): hello.$zone has address $answer"
done

echo
echo "Every BIND has the same:"
"$program" verify --dir "$dir" | sed 's/^/  /'

if [ "${RUN_ONCE:-}" = 1 ]; then
    trap - EXIT
    kill -TERM "$dev"
    wait "$dev"
    if [ -n "$ours" ]; then rm -rf "$dir"; fi
    exit 0
fi
echo
# What dev itself has to say: what to paste next.
sed -n '/^ready/,$p' "$intro"
wait "$dev"
