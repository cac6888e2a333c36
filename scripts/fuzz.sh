#!/usr/bin/env bash
# Every fuzz target for $FUZZTIME, then the differential campaigns (each BIND release; the endpoints of a
# cluster) with $MESSAGES messages each. Called by `make fuzz`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
GO=${GO:-$(scripts/ensure-go.sh)}
export PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" # tests call go and named
FUZZTIME=${FUZZTIME:-30s}

grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' internal test | xargs -n1 dirname | sort -u | while read -r dir; do
    grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
        printf '=== %s %s for %s\n' "$dir" "$target" "$FUZZTIME"
        "$GO" test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME"
    done
done
if [ -d test/differential ]; then
    printf '=== differential, %s messages to each of BIND 9.20, BIND 9.18, and a cluster beside BIND 9.20\n' "${MESSAGES:-1000000}"
    DIFFERENTIAL_MESSAGES=${MESSAGES:-1000000} "$GO" test ./test/differential/... -count=1 -timeout 12h -v
fi
