package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sys/unix"
)

//go:embed node.tmpl
var nodeFiles string

// initNode is the first process of a node. It has a network, process numbers, mounts, a host name and control groups of its own.
func initNode(dir, programs string, number int) error {
	name := NodeName(number)
	own := filepath.Join(dir, name)
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	if err := mountNode(own); err != nil {
		return fmt.Errorf("lab: %s: %w", name, err)
	}
	files, err := template.New("").Parse(nodeFiles)
	if err != nil {
		return err
	}
	values := map[string]string{"Dir": own, "PKI": filepath.Join(dir, "pki"), "Name": name, "Address": nodeAddr(number), "Pods": nodePods(number),
		"AllPods": podNet, "DNS": clusterDNS, "Domain": clusterName, "Pause": ImagePause}
	for file, path := range map[string]string{"containerd": "/run/containerd.toml", "cni": "/run/cni/10-bridge.conflist", "kubelet": "/run/kubelet.yaml",
		"proxy": "/run/proxy.yaml", "resolv": "/run/resolv.conf"} {
		var text bytes.Buffer
		if err := files.ExecuteTemplate(&text, file, values); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			return err
		}
	}
	in, err := newInit(filepath.Join(dir, "log"), name)
	if err != nil {
		return err
	}
	if err := in.daemon("containerd", "containerd", "--config", "/run/containerd.toml"); err != nil {
		return err
	}
	if err := in.until("containerd answers", "ctr", "version"); err != nil {
		return err
	}
	images, err := filepath.Glob(filepath.Join(dir, "images", "*.tar"))
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := in.run("ctr", importing(image)...); err != nil {
			return err
		}
	}
	if err := in.daemon("kubelet", filepath.Join(programs, "kubelet"), "--config=/run/kubelet.yaml", "--root-dir=/var/lib/kubelet",
		"--kubeconfig="+filepath.Join(dir, "pki", name+".kubeconfig"), "--hostname-override="+name, "--node-ip="+nodeAddr(number),
		"--node-labels=topology.kubernetes.io/zone="+zoneOf(number)); err != nil {
		return err
	}
	if err := in.daemon("network-policies", "/proc/self/exe", "policies", "--kubeconfig="+filepath.Join(dir, "pki", "policies.kubeconfig"),
		fmt.Sprintf("--node=%d", number)); err != nil {
		return err
	}
	if err := in.daemon("kube-proxy", filepath.Join(programs, "kube-proxy"), "--config=/run/proxy.yaml"); err != nil {
		return err
	}
	return in.wait()
}

// importing are the arguments with which ctr takes an image.
func importing(archive string) []string {
	return []string{"--namespace", "k8s.io", "images", "import", archive}
}

// mountNode gives the node its own view of files: a kernel's that fits its namespaces, and the folders that its programs write to.
func mountNode(own string) error {
	mount := func(source, target, kind string, flags uintptr, data string) error {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(source, target, kind, flags, data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", source, target, err)
		}
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	steps := []func() error{
		func() error { return mount("proc", "/proc", "proc", 0, "") },
		func() error { return mount("sysfs", "/sys", "sysfs", 0, "") }, // the devices of this network
		func() error { return mount("tmpfs", cgroupRoot, "tmpfs", 0, "mode=755") },
		mountGroups,
		func() error { return mount("tmpfs", "/run", "tmpfs", 0, "mode=755") },
	}
	for _, dir := range []string{"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers"} {
		steps = append(steps, func() error {
			if err := os.MkdirAll(own+dir, 0o755); err != nil {
				return err
			}
			return mount(own+dir, dir, "", unix.MS_BIND, "")
		})
	}
	// The kubelet sets these for the whole machine. It finds what it wants, and changes nothing.
	for file, value := range map[string]string{"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"} {
		steps = append(steps, func() error {
			shown := filepath.Join("/run/sysctl", file)
			if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(shown, []byte(value+"\n"), 0o600); err != nil {
				return err
			}
			if err := unix.Mount(shown, filepath.Join("/proc/sys", file), "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount over /proc/sys/%s: %w", file, err)
			}
			return nil
		})
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	// Containers see mounts that the kubelet makes later.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// mountGroups shows the hierarchies from the node's own group on, as its root.
func mountGroups() error {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(b) {
		fields := bytes.SplitN(bytes.TrimSpace(line), []byte(":"), 3)
		if len(fields) != 3 || len(fields[1]) == 0 {
			continue // version 2 beside version 1 has no controllers
		}
		options, folder := string(fields[1]), string(bytes.TrimPrefix(fields[1], []byte("name=")))
		if options != folder {
			options = "none," + options
		}
		target := filepath.Join(cgroupRoot, folder)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", target, "cgroup", 0, options); err != nil {
			return fmt.Errorf("mount control groups %s: %w", options, err)
		}
	}
	return nil
}
