// Package openstack makes Neutron let virtual addresses through: it looks, carries out what package plan decides, and looks
// again until nothing is left to do. It is safe to repeat at any time; one writer at a time is assumed and two do no harm.
package openstack
