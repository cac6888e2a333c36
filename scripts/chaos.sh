#!/usr/bin/env bash
# Campaigns of faults in turn, each for $ROUND (5m) with a seed of its own, until $DURATION (30m) is over. It ends at the first that
# finds something, and says how to repeat it. Called by `make chaos`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
GO=${GO:-$(scripts/ensure-go.sh)}
export PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" # tests call go and named
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

seconds() { # seconds 1h30m
    local d=$1 total=0
    [[ $d =~ ^([0-9]+[hms])+$ ]] || die "DURATION or ROUND '$d' is not a time" "write it as 3h, 45m or 1h30m"
    while [[ $d =~ ^([0-9]+)([hms])(.*)$ ]]; do
        case ${BASH_REMATCH[2]} in h) total=$((total + BASH_REMATCH[1] * 3600)) ;; m) total=$((total + BASH_REMATCH[1] * 60)) ;; s) total=$((total + BASH_REMATCH[1])) ;; esac
        d=${BASH_REMATCH[3]}
    done
    printf '%d\n' "$total"
}

round=$(seconds "${ROUND:-5m}")
limit=$(seconds "${DURATION:-30m}")
out=$(mktemp)
trap 'rm -f "$out"' EXIT
campaigns=(TestFaults TestOverlappingFaults TestPowerLoss)
n=0
while [ "$SECONDS" -lt "$limit" ]; do
    campaign=${campaigns[n % ${#campaigns[@]}]}
    left=$((limit - SECONDS))
    this=$((left < round ? left : round))s
    seed=${SEED:-$(od -An -N7 -tu8 /dev/urandom | tr -d ' ')}
    printf '=== %s SEED=%s DURATION=%s\n' "$campaign" "$seed" "$this"
    if ! SEED=$seed DURATION=$this "$GO" test ./test/cluster -run "^$campaign\$" -count=1 -timeout 12h -v >"$out" 2>&1; then
        cat "$out"
        die "$campaign found something" "repeat it with: SEED=$seed DURATION=$this go test ./test/cluster -run '^$campaign\$' -v"
    fi
    # What was done and what was seen: how often each fault, and the figures at the end.
    sed -nE 's/^ +[a-z_]+\.go:[0-9]+: (.*): over after .*/\1/p; s/^ +[a-z_]+\.go:[0-9]+: ((power|disk) back at ).*/\1one or more/p' "$out" | sort | uniq -c
    grep -E '^ +[a-z_]+\.go:[0-9]+: (history|[0-9]+ (updates|versions))' "$out" | sed -E 's/^ +[a-z_]+\.go:[0-9]+: /  /'
    n=$((n + 1))
done
printf '%d campaigns in %d minutes: nothing was lost, applied twice or out of order, and no two replicas differed\n' "$n" $((SECONDS / 60))
