#!/usr/bin/env bash
# golangci-lint at a fixed version. At the first call on a machine it is built from its Go module into the download
# cache: about a minute on two cores. A first run over the module takes another half, later ones a few seconds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)}
linter=$(go_tool github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)
PATH=$(dirname "$GO"):$PATH exec "$linter" "$@"
