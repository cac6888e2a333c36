# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash

say()  { printf '%s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$1" >&2; shift; for l in "$@"; do printf '       %s\n' "$l" >&2; done; exit 1; }

cache_dir() { printf '%s/zonekeeper' "${XDG_CACHE_HOME:-$HOME/.cache}"; }

# retry COMMAND… : four attempts with growing pauses. Mirrors fail now and then.
retry() {
    local n
    for n in 1 2 3; do
        "$@" && return 0
        say "attempt $n failed: $*; trying again in $((n * 3)) s"
        sleep $((n * 3))
    done
    "$@"
}

# download URL FILE : atomic, so that an interrupted download is never taken for a whole one.
download() {
    local part="$2.part.$$"
    if command -v curl >/dev/null; then
        retry curl -fsSL --connect-timeout 15 --max-time 600 -o "$part" "$1" || { rm -f "$part"; return 1; }
    elif command -v wget >/dev/null; then
        retry wget -q --timeout=60 -O "$part" "$1" || { rm -f "$part"; return 1; }
    else
        die "neither curl nor wget is installed" "install one: sudo apt-get install curl"
    fi
    mv "$part" "$2"
}

# go_tool PACKAGE@VERSION : builds a Go program into the download cache, once, and prints its path. Needs $GO. The Go version is part of the
# path: tools that read code can't read what is newer than the Go that built them.
go_tool() {
    local name=${1%@*} version=${1##*@} dir
    name=${name##*/}
    dir=$(cache_dir)/$name-$version-$("$GO" env GOVERSION) || return
    if [ ! -x "$dir/$name" ]; then
        say "building $name $version (once)"
        GOFLAGS='' GOBIN=$dir retry "$GO" install "$1" >&2 || return
    fi
    printf '%s\n' "$dir/$name"
}

# as_root COMMAND… : directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "not root, and sudo is not installed" "as root, run: $*"
    fi
}
