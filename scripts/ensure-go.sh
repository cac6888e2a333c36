#!/usr/bin/env bash
# Prints the path of a go command that can build this module.
#
# A Go of at least the version in go.mod is used as it is; one from 1.21 on fetches the right toolchain by
# itself (GOTOOLCHAIN=auto). Distributions often have none or an older one: then the toolchain is unpacked
# into the cache, from the Go module proxy, and checked against the hashes below.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

version=1.26.8
sha_amd64=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
sha_arm64=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99

need=$(awk '$1 == "go" {print $2}' "$here/../go.mod")

if go=$(command -v go); then
    # Inside the module, so that an older go answers with the toolchain it would switch to.
    have=$(cd "$here/.." && "$go" env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//' || true)
    if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -1)" = "$need" ]; then
        printf '%s\n' "$go"
        exit 0
    fi
fi

root=$(cache_dir)/go-$version
if [ -x "$root/bin/go" ]; then
    printf '%s\n' "$root/bin/go"
    exit 0
fi

case $(uname -m) in
x86_64) arch=amd64 sha=$sha_amd64 ;;
aarch64) arch=arm64 sha=$sha_arm64 ;;
*) die "no Go $need or later in \$PATH" "install it from https://go.dev/dl/ and try again" ;;
esac
say "no Go $need or later in \$PATH; unpacking Go $version into $root"
mkdir -p "$(dirname "$root")"
work=$(mktemp -d "$root.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
proxy=${GOPROXY:-https://proxy.golang.org}
proxy=${proxy%%[,|]*}
download "$proxy/golang.org/toolchain/@v/v0.0.1-go$version.linux-$arch.zip" "$work/go.zip" ||
    die "cannot download Go $version from $proxy" "install Go $need or later from https://go.dev/dl/ and try again"
printf '%s  %s\n' "$sha" "$work/go.zip" | sha256sum --check --quiet - >&2 || die "Go $version: wrong SHA-256"
if command -v unzip >/dev/null; then
    unzip -q "$work/go.zip" -d "$work"
elif command -v python3 >/dev/null; then
    python3 -m zipfile -e "$work/go.zip" "$work"
else
    as_root apt-get -q -y install unzip >&2
    unzip -q "$work/go.zip" -d "$work"
fi
top=$work/golang.org/toolchain@v0.0.1-go$version.linux-$arch
# Module zips carry no modes.
chmod 755 "$top"/bin/* "$top"/pkg/tool/*/*
# Another make may have been faster.
mv -T "$top" "$root" 2>/dev/null || [ -x "$root/bin/go" ]
printf '%s\n' "$root/bin/go"
