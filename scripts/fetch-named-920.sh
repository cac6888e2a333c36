#!/usr/bin/env bash
# Unpacks BIND 9.20 beside the distribution's own and prints the folder; its bin/ holds named, rndc,
# named-checkconf, named-checkzone. The tests drive and compare both versions.
#
# Source: Debian 12's backports. Nothing is installed and apt's sources are not touched; the chain of
# trust is Debian's: archive key → InRelease → Packages → each package's SHA-256.
# On a system whose own named is 9.20 the folder only points to that one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

root=$(cache_dir)/bind-9.20
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
suite=bookworm-backports
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

works() { "$1/bin/named" -V 2>/dev/null | grep -q '^BIND 9\.20\.'; }

if works "$root"; then
    printf '%s\n' "$root"
    exit 0
fi
mkdir -p "$(dirname "$root")"
# Test packages run side by side and may all ask for it.
if command -v flock >/dev/null; then
    exec 9>"$root.lock"
    flock 9
    if works "$root"; then
        printf '%s\n' "$root"
        exit 0
    fi
fi

work=$(mktemp -d "$root.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin"

finish() {
    works "$work" || die "the unpacked named does not run" "$("$work/bin/named" -V 2>&1 | head -3)"
    rm -rf "$root"
    mv "$work" "$root"
    printf '%s\n' "$root"
    exit 0
}

system=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v named || true)
if [ -n "$system" ] && "$system" -V 2>/dev/null | grep -q '^BIND 9\.20\.'; then
    for p in named rndc named-checkconf named-checkzone; do
        ln -s "$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$p")" "$work/bin/$p"
    done
    finish
fi

command -v dpkg-deb >/dev/null || die "dpkg-deb is missing" "BIND 9.20 is fetched on Debian and Ubuntu only"
arch=$(dpkg --print-architecture)
say "fetching BIND 9.20 from $mirror $suite ($arch)"

# 1. The signed list of indices.
download "$mirror/dists/$suite/InRelease" "$work/InRelease" || die "cannot download $mirror/dists/$suite/InRelease"
if command -v gpgv >/dev/null && [ -r "$keyring" ]; then
    gpgv --quiet --keyring "$keyring" "$work/InRelease" >/dev/null 2>"$work/gpgv.log" ||
        die "the signature of $suite/InRelease is not Debian's" "$(cat "$work/gpgv.log")"
else
    say "note: gpgv or $keyring is missing; the archive's signature was not checked"
fi

# 2. The index, by the hash the signed list gives.
index=main/binary-$arch/Packages.xz
sum=$(awk -v f="$index" '/^SHA256:/ {on=1; next} /^[^ ]/ {on=0} on && $3 == f {print $1}' "$work/InRelease" | head -1)
[ -n "$sum" ] || die "$suite has no $index" "architecture $arch is not supported by this script"
check() { # check FILE SHA256
    printf '%s  %s\n' "$2" "$1" | sha256sum --check --quiet - >&2 || die "$1: wrong SHA-256" "the mirror may be in mid-update: try again later"
}
download "$mirror/dists/$suite/main/binary-$arch/by-hash/SHA256/$sum" "$work/Packages.xz" ||
    download "$mirror/dists/$suite/$index" "$work/Packages.xz" || die "cannot download $index"
check "$work/Packages.xz" "$sum"

# 3. The newest 9.20 of each package.
depends=()
for pkg in bind9-libs bind9-utils bind9; do
    entries=$(xz -dc "$work/Packages.xz" | awk -v RS= -v p="$pkg" '
        { split("", f); n = split($0, l, "\n")
          for (i = 1; i <= n; i++) { k = l[i]; sub(/:.*/, "", k); v = l[i]; sub(/^[^:]*: */, "", v); f[k] = v }
          if (f["Package"] == p && f["Version"] ~ /^1:9\.20\./) print f["Version"] "|" f["Filename"] "|" f["SHA256"] "|" f["Depends"] }')
    [ -n "$entries" ] || die "$suite holds no $pkg 9.20 for $arch"
    best=
    while IFS= read -r e; do
        if [ -z "$best" ] || dpkg --compare-versions "${e%%|*}" gt "${best%%|*}"; then best=$e; fi
    done <<<"$entries"
    IFS='|' read -r version file sha deps <<<"$best"
    say "  $pkg $version"
    download "$mirror/$file" "$work/$pkg.deb" || die "cannot download $mirror/$file"
    check "$work/$pkg.deb" "$sha"
    dpkg-deb -x "$work/$pkg.deb" "$work/root"
    rm -f "$work/$pkg.deb"
    depends+=("$deps")
done
rm -f "$work/Packages.xz" "$work/InRelease" "$work/gpgv.log"

# 4. Programs that find their own libraries, wherever the folder lies.
lib=$(dirname "$(find "$work/root/usr/lib" -name 'libdns-*.so' | head -1)")
lib=${lib#"$work"/}
for p in named rndc named-checkconf named-checkzone; do
    path=$(cd "$work" && find root/usr/sbin root/usr/bin -name "$p" 2>/dev/null | head -1)
    [ -n "$path" ] || die "the packages hold no $p"
    cat >"$work/bin/$p" <<WRAP
#!/bin/sh
# exec keeps the process id: whoever starts this wrapper has started $p.
here=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
LD_LIBRARY_PATH="\$here/$lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$here/$path" "\$@"
WRAP
    chmod 755 "$work/bin/$p"
done

# 5. Libraries that this system lacks come from its own distribution (Ubuntu names some with t64).
missing() { LD_LIBRARY_PATH="$work/$lib" ldd "$work"/root/usr/sbin/named | awk '/not found/ {print $1}' | grep -v -e '^lib\(dns\|isc\|ns\|isccfg\|isccc\|bind9\)-' || true; }
if [ -n "$(missing)" ]; then
    libs=$(printf '%s\n' "${depends[@]}" | tr ',' '\n' | sed 's/(.*//; s/|.*//; s/ //g' | grep '^lib' | sort -u)
    pick=()
    for l in $libs; do
        for name in "$l" "${l}t64"; do
            if apt-cache show "$name" >/dev/null 2>&1; then pick+=("$name"); break; fi
        done
    done
    say "installing libraries from the distribution: ${pick[*]}"
    retry as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 install "${pick[@]}" >&2 ||
        die "could not install the libraries of BIND 9.20"
    [ -z "$(missing)" ] || die "BIND 9.20 lacks libraries on this system: $(missing | tr '\n' ' ')" \
        "set ZONEKEEPER_NAMED_920 to the path of a named 9.20 of your own"
fi
finish
