#!/usr/bin/env bash
# A Kubernetes cluster on this machine, for tests and for development; as root.
#
#   kube.sh prepare OUT      build what a cluster needs into the folder OUT: kubelab, images, programs (a link)
#   kube.sh up [DIR]         the same, then run a cluster in DIR until interrupted
#   kube.sh image [DIR]      build zonekeeper's images again and give them to the nodes of a running cluster
#   kube.sh test [FLAGS]     run all of test/kube, with flags of go test
#   kube.sh short [FLAGS]    run what a build machine has the time for (TestShort)
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
    for package in ./cmd/* ./test/kube/pause; do
        CGO_ENABLED=0 "$GO" build -ldflags "-s -w -X main.version=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
            -o "$out/bin/" "$package"
    done
    "$out/kubelab" images --dir "$out/images" --bin "$out/bin" --programs "$out/programs" \
        --release "$(cat charts/zonekeeper/images.txt)" --list images/zonekeeper/programs.txt --bind "$(scripts/fetch-named-920.sh)"
    say "programs and images: $((SECONDS - start)) s, $(du -smc "$out"/images/*.tar | tail -n 1 | cut -f1) MB"
}
prepare() { # prepare OUT
    local programs start=$SECONDS
    mkdir -p "$1"
    "$GO" build -o "$1/kubelab" ./test/kube/kubelab
    "$1/kubelab" check || die "Kubernetes' nodes can't run on this machine" "see above; nothing has been built or installed for them"
    scripts/install-deps.sh e2e
    programs=$(scripts/build-kube.sh)
    say "Kubernetes' programs: $((SECONDS - start)) s"
    ln -sfn "$programs" "$1/programs"
    images "$1"
}
tests() { # tests PATTERN [FLAGS]
    local pattern=$1 start=$SECONDS status=ok
    shift
    parts=$(mktemp -d)
    trap 'rm -rf "$parts"' EXIT
    prepare "$parts"
    PATH="$(dirname "$GO"):$PATH:/usr/sbin:/sbin" ZONEKEEPER_E2E=$parts "$GO" test ./test/kube -run "$pattern" -count=1 -timeout 1h -v "$@" || status=FAILED
    printf -- '--- Kubernetes, %s: %s in %d s\n' "$pattern" "$status" $((SECONDS - start))
    [ "$status" = ok ]
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
    "$GO" build -o "$dir-parts/kubelab" ./test/kube/kubelab
    images "$dir-parts"
    "$dir-parts/kubelab" load "$dir-parts"/images/zonekeeper-*.tar --dir "$dir"
    ;;
test) shift && tests '^TestE2E' "$@" ;;
short) shift && tests '^TestShort$' "$@" ;;
*) die "unknown: ${1:-nothing}" "use: $0 prepare OUT | up [DIR] | image [DIR] | test [FLAGS] | short [FLAGS]" ;;
esac
