#!/usr/bin/env bash
# golangci-lint at a fixed version, built from its Go module into .cache/ at the first call.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
GO=${GO:-$(scripts/ensure-go.sh)}
version=v2.15.0
bin=$PWD/.cache/golangci-lint-$version/golangci-lint
if [ ! -x "$bin" ]; then
    echo "building golangci-lint $version (once)" >&2
    GOFLAGS='' GOBIN=$(dirname "$bin") "$GO" install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
fi
PATH=$(dirname "$GO"):$PATH exec "$bin" "$@"
