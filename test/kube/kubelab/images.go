package main

import (
	"errors"
	"os"
	"path"
	"path/filepath"

	"github.com/zonekeeper/zonekeeper/test/kube/image"
	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

// User of images whose pods say none.
const user = "10053:10053"

// writeImages writes all images of the tests into a folder. bin has what is built for them: zonekeeper, and the operator if it is a program of
// its own; pause. bind is what scripts/fetch-named-920.sh prints.
func writeImages(to, bin, programs, bind string) error {
	write := func(name, reference, user string, root *image.Root, err error, entrypoint ...string) error {
		if err != nil {
			return err
		}
		return image.Write(filepath.Join(to, name+".tar"), image.Config{Name: reference, Entrypoint: entrypoint, User: user}, root)
	}
	pause := image.NewRoot()
	dns := image.NewRoot()
	client, clientErr := clientRoot()
	// The second one is what a cluster is upgraded to: another BIND as well.
	first, firstErr := zonekeeperRoot(bin, "")
	second, secondErr := zonekeeperRoot(bin, bind)
	return errors.Join(
		write("pause", lab.ImagePause, "", pause, pause.Program("/pause", filepath.Join(bin, "pause")), "/pause"),
		write("coredns", lab.ImageDNS, "", dns, dns.Program("/coredns", filepath.Join(programs, "coredns")), "/coredns"),
		write("client", "localhost/client:1", user, client, clientErr, "/bin/sh"),
		write("zonekeeper-1", "localhost/zonekeeper:1", user, first, firstErr, "/usr/bin/zonekeeper"),
		write("zonekeeper-2", "localhost/zonekeeper:2", user, second, secondErr, "/usr/bin/zonekeeper"))
}

// zonekeeperRoot has what every pod of a cluster runs: BIND, of this machine or unpacked in bind, and the programs of a front.
func zonekeeperRoot(bin, bind string) (*image.Root, error) {
	var dirs []string
	named := []string{"named", "rndc", "named-checkconf", "named-checkzone"}
	unpacked := filepath.Join(bind, "root", "usr")
	if bind != "" {
		dirs, _ = filepath.Glob(filepath.Join(unpacked, "lib", "*-linux-gnu")) // the pattern is sound
	}
	r := image.NewRoot(dirs...)
	r.Text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nzonekeeper:x:10053:10053:zonekeeper:/:/sbin/nologin\n")
	r.Text("/etc/group", "root:x:0:\nzonekeeper:x:10053:\n")
	err := errors.Join(r.Installed("haproxy", "keepalived", "nft"),
		r.Copy("/etc/services", "/etc/services"), r.Copy("/etc/protocols", "/etc/protocols"))
	if len(dirs) == 0 { // this machine's own BIND may be the one
		err = errors.Join(err, r.Installed(named...))
	} else {
		for _, n := range named {
			for _, dir := range []string{"sbin", "bin"} {
				if source := filepath.Join(unpacked, dir, n); exists(source) {
					err = errors.Join(err, r.Program(path.Join("/usr", dir, n), source))
				}
			}
		}
	}
	for _, n := range []string{"zonekeeper", "zonekeeper-operator"} {
		if source := filepath.Join(bin, n); exists(source) {
			err = errors.Join(err, r.Program(path.Join("/usr/bin", n), source))
		}
	}
	return r, err
}

// clientRoot has what people use beside a cluster.
func clientRoot() (*image.Root, error) {
	r := image.NewRoot()
	r.Link("/usr/bin/sh", "busybox")
	for _, name := range []string{"cat", "sleep", "ls", "env", "ip", "nslookup", "wget", "nc", "ping"} {
		r.Link("/usr/bin/"+name, "busybox")
	}
	return r, errors.Join(r.Installed("nsupdate", "dig"), r.Program("/usr/bin/busybox", "/bin/busybox"))
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
