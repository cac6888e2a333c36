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

say "starting three primaries, each with its own BIND, in $dir"
for _ in $(seq 900); do
    [ -s "$dir/dev.json" ] && break
    kill -0 "$dev" 2>/dev/null || { trap - EXIT; wait "$dev" || exit $?; exit 1; }
    sleep 0.1
done
[ -s "$dir/dev.json" ] || die "the cluster is not ready after 90 s" "its logs: $dir/primary-*/log"

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
echo "Every primary's own BIND has it, and all are the same:"
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
