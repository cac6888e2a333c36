#!/usr/bin/env bash
# Runs all tests, suite after suite, and prints what each one took. Called by `make test`.
#
# The race detector costs about ten times the CPU, so it covers the packages in which goroutines share
# memory, not the pure ones (zone, update, policy, fsm) nor the suites that start real processes.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 1
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)} || exit 1
export PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" # tests call go and named

race='internal/(front/[a-z]+|log|named|replica|publish|endpoint|primary|secondary|notify|propagation|devcluster|adminapi|simulation|bench)(/|$)'
# Suites with a cluster or a real named in each test take the machine's cores: one package at a time.
heavy='/test/'

out=$(mktemp) && findings=$(mktemp) || exit 1
trap 'rm -f "$out" "$findings"' EXIT

failed=()
total=$SECONDS
suite() { # suite NAME COMMAND…
    local name=$1 start=$SECONDS status=ok
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 | tee "$out"
    if [ "${PIPESTATUS[0]}" -ne 0 ]; then
        status=FAILED
        failed+=("$name")
        findings "$name" <"$out" >>"$findings"
    fi
    printf -- '--- %s: %s in %d s\n' "$name" "$status" $((SECONDS - start))
}
# findings says what failed without the logs of the processes under test, to be read at the end of a long output.
findings() {
    printf '\n=== %s\n' "$1"
    grep -E '^ *--- FAIL|^FAIL|^panic:|DATA RACE|^ +[a-z0-9_]+\.go:[0-9]+: ' | grep -v ', its end:$' | cut -c1-600 | tail -n 80
}

mapfile -t all < <("$GO" list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep .)
[ ${#all[@]} -gt 0 ] || die "go list found no packages" "run: $GO list ./..."
pick() { printf '%s\n' "${all[@]}" | grep -E "$@" || true; }
mapfile -t heavy_pkgs < <(pick "$heavy")
mapfile -t race_pkgs < <(pick "$race" | grep -vE "$heavy")
mapfile -t pure_pkgs < <(pick -v "$heavy|$race")

suite "go build" "$GO" build ./... # go vet looks at a package together with its tests only
suite "go vet" "$GO" vet ./...
suite "lint" env GO="$GO" scripts/lint.sh run ./...
suite "unit" "$GO" test -timeout 10m "$@" "${pure_pkgs[@]}"
if [ ${#race_pkgs[@]} -gt 0 ]; then
    if [ "$("$GO" env CGO_ENABLED)" = 1 ] && command -v gcc >/dev/null; then
        suite "unit, race detector" "$GO" test -race -timeout 12m "$@" "${race_pkgs[@]}"
    else
        suite "unit (no C compiler: without the race detector)" "$GO" test -timeout 12m "$@" "${race_pkgs[@]}"
    fi
fi
for p in "${heavy_pkgs[@]}"; do
    suite "${p#*/test/}" "$GO" test -timeout 15m "$@" "$p"
done

printf '\nall suites: %d s\n' $((SECONDS - total))
if [ ${#failed[@]} -gt 0 ]; then
    cat "$findings"
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "ok"
