// Package front runs three front nodes, three primaries and clients on one bridge, each in a network namespace, with the real haproxy,
// keepalived and named, hurts them, and shows what clients see: how long no write is acknowledged, that none is lost or applied
// twice, who receives packets, whose address the primaries' logs show.
//
// The short form is part of make test. The measurements (each fault many times; throughput) are TestMeasureFront…: make front.
package front
