#!/usr/bin/env bash
# Builds the image for distribution with Docker's buildx, the same octets each time for the same commit and the same base images.
#
#   GO_IMAGE=golang@sha256:… DEBIAN_IMAGE=debian@sha256:… images/build.sh NAME [arguments of docker buildx build]
#
# NAME is what it is called, such as ghcr.io/zonekeeper/zonekeeper:0.1.0. GO_IMAGE is golang's image for Debian 13, DEBIAN_IMAGE is debian:trixie-slim: by
# digest, because a tag moves. SNAPSHOT is the moment of Debian's archive: at least that of the versions in images/zonekeeper/programs.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

SNAPSHOT=${SNAPSHOT:-20261123T000000Z}
[ $# -ge 1 ] || die "the image's name is missing" "use: $0 NAME [arguments of docker buildx build]"
name=$1
shift
for v in GO_IMAGE DEBIAN_IMAGE; do
    case ${!v:-} in
    *@sha256:*) ;;
    *) die "$v is '${!v:-}', which is no digest" "name it as golang@sha256:… or debian@sha256:…" ;;
    esac
done
[ -z "$(git status --porcelain)" ] || die "there are changes that are not committed" "commit them: an image says of which commit it is"

epoch=$(git log -1 --format=%ct)
exec docker buildx build --file images/zonekeeper/Dockerfile --tag "$name" \
    --build-arg GO_IMAGE="$GO_IMAGE" --build-arg DEBIAN_IMAGE="$DEBIAN_IMAGE" --build-arg SNAPSHOT="$SNAPSHOT" \
    --build-arg SOURCE_DATE_EPOCH="$epoch" --build-arg VERSION="$(git describe --tags --always)" \
    --output "type=image,name=$name,rewrite-timestamp=true" --provenance=false "$@" .
