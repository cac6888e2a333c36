#!/usr/bin/env bash
# A Kubernetes cluster on this machine, for tests and for development; as root.
#
#   kube.sh prepare OUT      build what a cluster needs into the folder OUT: kubelab, images, programs (a link)
#   kube.sh up [DIR]         the same, then run a cluster in DIR until interrupted
#   kube.sh image [DIR]      build zonekeeper's images again and give them to the nodes of a running cluster
#   kube.sh test [FLAGS]     run test/kube, with flags of go test
#
# DIR is /var/tmp/zonekeeper-kube unless named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)}
export GO

images() { # images OUT
    local out=$1 start=$SECONDS package
    mkdir -p "$out/bin" "$out/images"
    "$GO" build -o "$out/kubelab" ./test/kube/kubelab
    for package in ./cmd/* ./test/kube/pause; do
        CGO_ENABLED=0 "$GO" build -ldflags "-s -w -X main.version=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
            -o "$out/bin/" "$package"
    done
    "$out/kubelab" images --dir "$out/images" --bin "$out/bin" --programs "$out/programs" \
        --release "$(cat charts/zonekeeper/images.txt)" --list images/zonekeeper/programs.txt --bind "$(scripts/fetch-named-920.sh)"
    say "programs and images: $((SECONDS - start)) s, $(du -smc "$out"/images/*.tar | tail -n 1 | cut -f1) MB"
}
prepare() { # prepare OUT
    local programs
    scripts/install-deps.sh e2e
    programs=$(scripts/build-kube.sh)
    mkdir -p "$1"
    ln -sfn "$programs" "$1/programs"
    images "$1"
}

dir=${2:-/var/tmp/zonekeeper-kube}
case ${1:-} in
prepare) prepare "${2:?name a folder}" ;;
up)
    prepare "$dir-parts"
    exec "$dir-parts/kubelab" up --dir "$dir" --programs "$(readlink "$dir-parts/programs")" \
        --images "$(printf '%s\n' "$dir-parts"/images/*.tar | paste -sd,)"
    ;;
image)
    images "$dir-parts"
    "$dir-parts/kubelab" load "$dir-parts"/images/zonekeeper-*.tar --dir "$dir"
    ;;
test)
    shift
    parts=$(mktemp -d)
    trap 'rm -rf "$parts"' EXIT
    prepare "$parts"
    PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" ZONEKEEPER_E2E=$parts "$GO" test ./test/kube -run '^TestE2E' -count=1 -timeout 1h -v "$@"
    ;;
*) die "unknown: ${1:-nothing}" "use: $0 prepare OUT | up [DIR] | image [DIR] | test [FLAGS]" ;;
esac
