#!/usr/bin/env bash
# Runs test/openstack [with flags of go test] against Keystone and Neutron of Debian 12's packages, started here on loopback and ended
# afterwards. No service is installed: their programs are unpacked into the cache. There is no data plane; ports stay DOWN.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
GO=${GO:-$(scripts/ensure-go.sh)}
export PATH="$(dirname "$GO"):/usr/sbin:/usr/bin:/sbin:/bin" # the distribution's python3 before any other
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
start=$SECONDS
took() { say "$(printf '%4d s  %s' $((SECONDS - start)) "$*")"; }

programs=$(cache_dir)/openstack-debian12
packages=(python3-keystone python3-neutron python3-pymysql mariadb-server-core mariadb-client-core uwsgi-core uwsgi-plugin-python3)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    retry as_root apt-get -q update >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 install --no-install-recommends "${packages[@]}" >&2
    took "packages"
fi
if [ ! -x "$programs/usr/bin/neutron-db-manage" ]; then
    part=$(mktemp -d)
    chmod 755 "$part" # apt's own user writes there
    (cd "$part" && retry apt-get -q download neutron-common neutron-api keystone >&2)
    mkdir -p "$programs"
    for deb in "$part"/*.deb; do dpkg -x "$deb" "$programs"; done
    rm -rf "$part"
    took "service programs"
fi

state=$(mktemp -d)
pids=()
finish() { # the database last
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    rm -rf "$state"
}
trap finish EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
until_ok() { # until_ok NAME PID COMMAND… : the process serves, or has ended
    local name=$1 pid=$2 n
    shift 2
    for ((n = 0; n < 1200; n++)); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$state/$name.log" >&2; die "$name has ended" "see above"; }
        sleep 0.1
    done
    die "$name does not answer" "see $state/$name.log"
}

# ---- database; nothing is synced: it lives as long as the tests
db=$(free_port)
mkdir "$state/db"
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$state/db" --auth-root-authentication-method=normal --skip-test-db >"$state/install.log" 2>&1
mariadbd --no-defaults --user="$(id -un)" --datadir="$state/db" --socket="$state/db.sock" --bind-address=127.0.0.1 --port="$db" --skip-name-resolve \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync --character-set-server=utf8mb3 >"$state/mariadbd.log" 2>&1 &
pids+=($!)
sql() { mariadb --no-defaults -uroot -S "$state/db.sock" "$@"; }
until_ok mariadbd "${pids[-1]}" sql -e 'select 1'
for name in keystone neutron; do sql -e "CREATE DATABASE $name; GRANT ALL ON $name.* TO '$name'@'127.0.0.1' IDENTIFIED BY 'oslab'"; done
took "database"

# ---- Keystone
keystone=http://127.0.0.1:$(free_port) neutron_port=$(free_port)
cat >"$state/keystone.conf" <<C
[DEFAULT]
log_file = $state/keystone.log
[database]
connection = mysql+pymysql://keystone:oslab@127.0.0.1:$db/keystone?charset=utf8
[fernet_tokens]
key_repository = $state/fernet
[fernet_receipts]
key_repository = $state/fernet
[credential]
key_repository = $state/credential
[cache]
enabled = true
backend = oslo_cache.dict
[identity]
password_hash_rounds = 4
C
mkdir "$state/fernet" "$state/credential"
manage() { keystone-manage --config-file "$state/keystone.conf" "$@" 2>>"$state/manage.log"; }
manage fernet_setup --keystone-user "$(id -un)" --keystone-group "$(id -gn)"
manage credential_setup --keystone-user "$(id -un)" --keystone-group "$(id -gn)"
manage db_sync
manage bootstrap --bootstrap-password oslab --bootstrap-admin-url "$keystone/v3" --bootstrap-public-url "$keystone/v3" --bootstrap-internal-url "$keystone/v3" --bootstrap-region-id RegionOne
OS_KEYSTONE_CONFIG_FILES=$state/keystone.conf uwsgi --plugin python3 --http-socket "${keystone#http://}" --wsgi-file /usr/bin/keystone-wsgi-public --master --processes 1 \
    --threads 4 --enable-threads --lazy-apps --buffer-size 65535 --die-on-term --add-header 'Connection: close' --disable-logging >"$state/keystone-wsgi.log" 2>&1 &
pids+=($!)

# ---- Neutron: the API with ML2 and no agents. Its service user is Keystone's administrator.
cat >"$state/neutron.conf" <<C
[DEFAULT]
bind_host = 127.0.0.1
bind_port = $neutron_port
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
api_paste_config = $programs/usr/share/neutron-common/api-paste.ini
state_path = $state/neutron
core_plugin = ml2
service_plugins = router,tag,revisions,timestamp
transport_url = fake://
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
log_file = $state/neutron.log
[keystone_authtoken]
www_authenticate_uri = $keystone/v3
auth_url = $keystone/v3
auth_type = password
username = admin
password = oslab
project_name = admin
user_domain_name = Default
project_domain_name = Default
service_type = network
[database]
connection = mysql+pymysql://neutron:oslab@127.0.0.1:$db/neutron?charset=utf8
[oslo_concurrency]
lock_path = $state/lock
[oslo_messaging_notifications]
driver = noop
[quotas]
quota_port = 5000
quota_network = 100
quota_subnet = 100
quota_security_group = 100
quota_security_group_rule = 1000
[ml2]
type_drivers = flat,vxlan
tenant_network_types = vxlan
mechanism_drivers = openvswitch
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:1000
[ml2_type_flat]
flat_networks = public
C
mkdir "$state/neutron" "$state/lock"
"$programs/usr/bin/neutron-db-manage" --config-file "$state/neutron.conf" upgrade heads >"$state/neutron-db.log" 2>&1
until_ok keystone-wsgi "${pids[-1]}" curl -sf "$keystone/v3"
took "Keystone"
"$programs/usr/bin/neutron-server" --config-file "$state/neutron.conf" >"$state/neutron-server.log" 2>&1 &
pids+=($!)
until_ok neutron-server "${pids[-1]}" curl -sf "http://127.0.0.1:$neutron_port/"
took "Neutron"

ZONEKEEPER_KEYSTONE=$keystone/v3 ZONEKEEPER_NEUTRON=http://127.0.0.1:$neutron_port "$GO" test ./test/openstack -count=1 -timeout 30m -v "$@"
took "tests"
