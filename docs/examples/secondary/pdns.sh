#!/bin/sh
# Sets up the database of a PowerDNS secondary whose configuration is pdns.conf, before its first start. Replace 192.0.2.1 by
# the primaries' address and the secret by that of:
#     zonekeeper key add ns-pdns
#     zonekeeper secondary add ns-pdns --foreign --notify ADDRESS-OF-THIS-SERVER:53
#     zonekeeper key export ns-pdns --format bind
set -eu

sqlite3 /var/lib/powerdns/pdns.sqlite3 </usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql

pdnsutil import-tsig-key ns-pdns hmac-sha256 u8Xr0sVQJkV4bW1cJx2o7m9tH5yQe3LzP6aGdN8fRkI=
pdnsutil create-secondary-zone catalog.zonekeeper.invalid 192.0.2.1
pdnsutil set-kind catalog.zonekeeper.invalid consumer
pdnsutil activate-tsig-key catalog.zonekeeper.invalid ns-pdns consumer

# PowerDNS gives the members of a catalog no key of their own; its database can.
sqlite3 /var/lib/powerdns/pdns.sqlite3 "
CREATE TRIGGER member_key AFTER INSERT ON domains WHEN NEW.type = 'SLAVE' BEGIN
	INSERT INTO domainmetadata (domain_id, kind, content) VALUES (NEW.id, 'AXFR-MASTER-TSIG', 'ns-pdns');
END;"
