package cluster

import (
	"os"
	"testing"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// etcdEnv makes the test binary an etcd server: its own re-execution is the external cluster of the tests.
const etcdEnv = "ZONEKEEPER_TEST_ETCD"

func TestMain(m *testing.M) {
	if os.Getenv(etcdEnv) != "" {
		etcdmain.Main(append([]string{"etcd"}, os.Args[1:]...))
		return
	}
	os.Exit(m.Run())
}
