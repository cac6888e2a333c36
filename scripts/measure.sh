#!/usr/bin/env bash
# Runs the measurements that are too long for `make test`: measure.sh Scale|Failover|Propagation|Front
# [go test flags].
# They are Go tests under test/, named TestMeasureScale… and so on; `make test` passes over them because ZONEKEEPER_MEASURE is not set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
GO=${GO:-$(scripts/ensure-go.sh)}
export PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" # tests call go and named
what=$1
shift
# One package: go test shows its output as it comes.
ZONEKEEPER_MEASURE=$what exec "$GO" test "./test/${what,,}" -run "^TestMeasure$what" -count=1 -timeout 3h -v "$@"
