#!/usr/bin/env bash
# golangci-lint at a fixed version. At the first call on a machine it is built from its Go module into the download
# cache: about a minute on two cores. A first run over the module takes another half, later ones a few seconds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)}
version=v2.15.0
# The Go version is part of the path: a golangci-lint can't read code newer than the Go that built it.
dir=$(cache_dir)/golangci-lint-$version-$("$GO" env GOVERSION)
if [ ! -x "$dir/golangci-lint" ]; then
    say "building golangci-lint $version (once)"
    GOFLAGS='' GOBIN=$dir retry "$GO" install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
fi
PATH=$(dirname "$GO"):$PATH exec "$dir/golangci-lint" "$@"
