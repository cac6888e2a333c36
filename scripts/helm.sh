#!/usr/bin/env bash
# Helm at a fixed version. At the first call on a machine it is built from its Go module into the download cache.
#
#   helm.sh ARGUMENTS…    runs it
#   helm.sh --path        prints where it is
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$("$here/ensure-go.sh")}
helm=$(go_tool helm.sh/helm/v4/cmd/helm@v4.3.1)
[ "${1:-}" = --path ] && { printf '%s\n' "$helm"; exit 0; }
exec "$helm" "$@"
