#!/usr/bin/env bash
# Installs what ZoneKeeper needs from the distribution. Nothing happens when it is there already.
#
#   install-deps.sh run     named, rndc, nsupdate, dig
#   install-deps.sh test    the same, and what tests and benchmarks use: a C compiler for the race
#                           detector, Knot to compare with, Knot, NSD and PowerDNS as foreign
#                           secondaries, tools to unpack a second BIND, strace and network namespaces
#                           to slow a disk or a network down, HAProxy, keepalived and nftables for the front, Kea's
#                           DDNS daemon and dnspython as clients
#   install-deps.sh front   what test has, and dnsdist to compare the front with
#   install-deps.sh clients  what test has, and certbot with its plugin: the other clients are Go packages
#   install-deps.sh e2e     what test has, and what the nodes of a Kubernetes cluster run: a container runtime, network
#                           plugins, packet filters; etcd for its API server; and a shell for the images of clients
#
# No service is started or enabled: ZoneKeeper runs its own named as a child process.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

want=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || want+=("$2")
}

level=${1:-run}
case $level in run | test | front | clients | e2e) ;; *) die "unknown level '$level'" "use: $0 run|test|front|clients|e2e" ;; esac

need named bind9
need rndc bind9-utils
need named-checkzone bind9-utils
need nsupdate bind9-dnsutils
need dig bind9-dnsutils
if [ "$level" != run ]; then
    need gcc gcc
    [ -e /usr/include/stdlib.h ] || want+=(libc6-dev)
    need curl curl
    need xz xz-utils
    need gpgv gpgv
    need knotd knot
    need knsupdate knot-dnsutils
    need nsd nsd
    need pdns_server pdns-server
    need pdnsutil pdns-server
    [ -n "$(find /usr/lib -name 'libgsqlite3backend.so' -print -quit)" ] || want+=(pdns-backend-sqlite3)
    need sqlite3 sqlite3
    need strace strace
    need ip iproute2
    need nsenter util-linux
    need haproxy haproxy
    need keepalived keepalived
    need nft nftables
    need kea-dhcp-ddns kea-dhcp-ddns-server
    [ -d /usr/lib/python3/dist-packages/dns ] || want+=(python3-dnspython)
fi
if [ "$level" = clients ]; then
    need certbot certbot
    [ -d /usr/lib/python3/dist-packages/certbot_dns_rfc2136 ] || want+=(python3-certbot-dns-rfc2136)
fi
if [ "$level" = front ]; then
    need dnsdist dnsdist
fi
if [ "$level" = e2e ]; then
    need containerd containerd
    need runc runc
    need etcd etcd-server
    [ -x /usr/lib/cni/bridge ] || want+=(containernetworking-plugins)
    need iptables iptables # of the port mapping plugin and of the kubelet
    need conntrack conntrack
    [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || want+=(busybox-static)
fi
[ ${#want[@]} -gt 0 ] || exit 0

mapfile -t want < <(printf '%s\n' "${want[@]}" | sort -u)
command -v apt-get >/dev/null || die "missing: ${want[*]}; and this is not a Debian or Ubuntu system" \
    "install BIND 9.18 or later (named, rndc, nsupdate, dig) with your package manager, then try again"

say "installing from the distribution: ${want[*]}"

# A package's own scripts would start its service on port 53. policy-rc.d is Debian's way to say no.
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() { if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi; }
trap cleanup EXIT
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >&2; }
if ! apt install --no-install-recommends "${want[@]}"; then
    # The package lists may be missing or old.
    retry apt update || die "apt-get update failed" "check the network and /etc/apt/sources.list"
    retry apt install --no-install-recommends "${want[@]}" ||
        die "could not install: ${want[*]}" "see apt's message above"
fi

# Enabled units would start at the next boot and take port 53.
if [ -d /run/systemd/system ]; then
    for pkg in "${want[@]}"; do
        case $pkg in
        bind9) as_root systemctl disable --quiet named.service 2>/dev/null || true ;;
        knot) as_root systemctl disable --quiet knot.service 2>/dev/null || true ;;
        nsd) as_root systemctl disable --quiet nsd.service 2>/dev/null || true ;;
        pdns-server) as_root systemctl disable --quiet pdns.service 2>/dev/null || true ;;
        haproxy | keepalived | dnsdist | containerd | etcd) as_root systemctl disable --quiet "$pkg.service" 2>/dev/null || true ;;
        esac
    done
fi
