#!/usr/bin/env bash
# Writes what is generated from api/v1alpha1: deep copies and the CustomResourceDefinitions. At the first call on a machine
# controller-gen is built from its Go module into the download cache: some 20 s on two cores.
#
#   generate.sh          into the repository
#   generate.sh DIR      into DIR/deepcopy and DIR/crds, to compare
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)}
generator=$(go_tool sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0)
deepcopy=api/v1alpha1
crds=charts/zonekeeper/files/crds
if [ $# -gt 0 ]; then
    deepcopy=$1/deepcopy
    crds=$1/crds
fi
PATH=$(dirname "$GO"):$PATH exec "$generator" paths=./api/... \
    object output:object:dir="$deepcopy" \
    crd output:crd:dir="$crds"
