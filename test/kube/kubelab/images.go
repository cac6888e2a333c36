package main

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/zonekeeper/zonekeeper/test/kube/image"
	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

// User of images whose pods say none.
const user = "10053:10053"

// writeImages writes all images of the tests into a folder. bin has what is built for them: zonekeeper, and the operator if it is a program of
// its own; pause. release is the name of the chart's image; list names what else is in the image for distribution, bind is what scripts/fetch-named-920.sh prints.
func writeImages(to, bin, programs, release, list, bind string) error {
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
	first, firstErr := zonekeeperRoot(bin, list, "")
	second, secondErr := zonekeeperRoot(bin, list, bind)
	return errors.Join(
		write("pause", lab.ImagePause, "", pause, pause.Program("/pause", filepath.Join(bin, "pause")), "/pause"),
		write("coredns", lab.ImageDNS, "", dns, dns.Program("/coredns", filepath.Join(programs, "coredns")), "/coredns"),
		write("client", "localhost/client:1", user, client, clientErr, "/bin/sh"),
		write("zonekeeper-1", release, user, first, firstErr),
		write("zonekeeper-2", "localhost/zonekeeper:2", user, second, secondErr))
}

// zonekeeperRoot has what every pod of a cluster runs: our programs, and those of list, from what is unpacked in bind where that has them, else
// from this machine's packages.
func zonekeeperRoot(bin, list, bind string) (*image.Root, error) {
	names, err := programs(list)
	if err != nil {
		return nil, err
	}
	var dirs []string
	if bind != "" {
		dirs, _ = filepath.Glob(filepath.Join(bind, "root", "usr", "lib", "*-linux-gnu")) // the pattern is sound
	}
	r := image.NewRoot(dirs...)
	r.Text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nzonekeeper:x:10053:10053:zonekeeper:/nonexistent:/usr/sbin/nologin\n")
	r.Text("/etc/group", "root:x:0:\nzonekeeper:x:10053:\n")
	err = errors.Join(r.Copy("/etc/services", "/etc/services"), r.Copy("/etc/protocols", "/etc/protocols"))
	for _, n := range names {
		unpacked, _ := filepath.Glob(filepath.Join(bind, "root", "usr", "*bin", n)) // the pattern is sound
		if bind == "" || len(unpacked) == 0 {
			err = errors.Join(err, r.Installed(n))
			continue
		}
		err = errors.Join(err, r.Program(path.Join("/usr/bin", n), unpacked[0]))
	}
	err = errors.Join(err, r.Installed("sh", "sleep", "cat")) // of any distribution's image; the quick start's client sleeps
	for _, n := range []string{"zonekeeper", "zonekeeper-operator"} {
		if source := filepath.Join(bin, n); exists(source) {
			err = errors.Join(err, r.Program(path.Join("/usr/local/bin", n), source))
		}
	}
	return r, err
}

// programs reads the first word of each line that is no comment.
func programs(list string) ([]string, error) {
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			names = append(names, f[0])
		}
	}
	return names, nil
}

// clientRoot has what people use beside a cluster.
func clientRoot() (*image.Root, error) {
	r := image.NewRoot()
	r.Link("/usr/bin/sh", "busybox")
	for _, name := range []string{"cat", "sleep", "ls", "env", "ip", "nslookup", "wget", "nc", "ping", "timeout", "true"} {
		r.Link("/usr/bin/"+name, "busybox")
	}
	return r, errors.Join(r.Installed("nsupdate", "dig"), r.Program("/usr/bin/busybox", "/bin/busybox"))
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
