#!/usr/bin/env bash
# Builds the programs of a Kubernetes cluster into the download cache, once, and prints the folder: kube-apiserver, kube-controller-manager,
# kube-scheduler, kubelet, kube-proxy, kubectl and our storage-provisioner (links to one program), and coredns. Their versions are those of test/kube/*/go.mod.
#
# The first build takes about a quarter of an hour on two cores; the folder's name is a digest of all that decides about its content.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$("$here/ensure-go.sh")}
modules=$here/../test/kube

names=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl storage-provisioner)
version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$modules/kubernetes/go.mod")
IFS=. read -r major minor _ <<<"${version#v}"
v=k8s.io/component-base/version
ldflags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=$major -X $v.gitMinor=$minor -X $v.gitTreeState=clean"

digest=$({
    printf '%s\n' "$ldflags" "${names[*]}" "$("$GO" env GOVERSION GOARCH)"
    cat "$modules"/{kubernetes,coredns}/{go.mod,go.sum,*.go}
} | sha256sum | cut -c1-16)
dir=$(cache_dir)/kube-$digest
[ -e "$dir/coredns" ] && { printf '%s\n' "$dir"; exit 0; }

mkdir -p "$(cache_dir)"
exec 9>"$dir.lock" # several may want it at once
flock 9
[ -e "$dir/coredns" ] && { printf '%s\n' "$dir"; exit 0; }
work=$(mktemp -d "$dir.new.XXXXXX")
ticker=
trap '[ -z "$ticker" ] || kill "$ticker" 2>/dev/null; rm -rf "$work"' EXIT

build() { # build MODULE [go build flags]
    local module=$1 start=$SECONDS
    shift
    say "building $module (once)"
    # -v names packages as they are compiled. Each compiler lives for seconds: it need not collect its garbage below a GB.
    if ! (cd "$modules/$module" && CGO_ENABLED=0 GOFLAGS='' GOGC=off GOMEMLIMIT=1GiB retry "$GO" build -v -trimpath "$@" -o "$work/$module" .) 2>"$work/log"; then
        die "go build of $module failed" "$(tail -n 20 "$work/log")"
    fi
    say "building $module: $((SECONDS - start)) s, $(du -m "$work/$module" | cut -f1) MB"
}
# A line each half minute, so that nobody takes a long build for a hanging one.
while sleep 30; do say "  $(wc -l <"$work/log") lines, the last one: $(tail -n 1 "$work/log")"; done 9>&- &
ticker=$!

build kubernetes -ldflags "$ldflags"
for n in "${names[@]}"; do ln -s kubernetes "$work/$n"; done
build coredns -ldflags '-s -w'
rm -f "$work/log"
rm -rf "$dir"
mv "$work" "$dir"
printf '%s\n' "$dir"
