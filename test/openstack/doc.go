// Package openstack runs internal/openstack against a real Keystone and a real Neutron API: the whole life of a VIP, two writers,
// faults from a proxy in front of the API, a hundred nodes. scripts/openstack.sh starts the services and these tests.
package openstack
