package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// initHub is the first process of the control plane.
func initHub(dir, programs string) error {
	etcd := filepath.Join(dir, "etcd")
	if err := os.MkdirAll(etcd, 0o700); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, {"proc", "/proc", "proc", 0}, {"tmpfs", etcd, "tmpfs", 0}} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("lab: mount %s: %w", m.target, err)
		}
	}
	in, err := newInit(filepath.Join(dir, "log"), "hub")
	if err != nil {
		return err
	}
	pki := func(file string) string { return filepath.Join(dir, "pki", file) }
	program := func(name string) string { return filepath.Join(programs, name) }
	// Its disk is the machine's memory: what it has lives no longer than the cluster, and fsyncs of everybody's share one disk.
	if err := in.daemon("etcd", "etcd", "--data-dir="+filepath.Join(etcd, "data"), "--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--quota-backend-bytes=1073741824"); err != nil {
		return err
	}
	if err := in.daemon("kube-apiserver", program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+hubAddr,
		fmt.Sprintf("--secure-port=%d", portAPI), "--service-cluster-ip-range="+serviceNet, "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--client-ca-file="+pki("ca.crt"),
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate="+pki("kubelet-client.crt"), "--kubelet-client-key="+pki("kubelet-client.key"),
		"--enable-aggregator-routing=true", // webhooks reach pods: the control plane has no Services
		"--service-account-issuer=https://kubernetes.default.svc."+clusterName,
		"--service-account-key-file="+pki("service-accounts.key"), "--service-account-signing-key-file="+pki("service-accounts.key"),
		"--requestheader-client-ca-file="+pki("ca.crt"), "--requestheader-allowed-names=aggregator",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("aggregator.crt"), "--proxy-client-key-file="+pki("aggregator.key"),
		// Pods leave a dead node after 5 s instead of 5 minutes: tests wait for it.
		"--default-not-ready-toleration-seconds=5", "--default-unreachable-toleration-seconds=5", "--profiling=false"); err != nil {
		return err
	}
	if err := in.until("the API server is ready", program("kubectl"), "--kubeconfig="+pki("provisioner.kubeconfig"), "get", "--raw=/readyz"); err != nil {
		return err
	}
	as := func(who string) []string {
		config := pki(who + ".kubeconfig")
		return []string{"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"}
	}
	if err := in.daemon("kube-controller-manager", program("kube-controller-manager"), append(as("controllers"),
		"--use-service-account-credentials=true", "--service-account-private-key-file="+pki("service-accounts.key"), "--root-ca-file="+pki("ca.crt"),
		"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
		"--node-monitor-period=1s", "--node-monitor-grace-period=10s", "--node-eviction-rate=100")...); err != nil {
		return err
	}
	if err := in.daemon("kube-scheduler", program("kube-scheduler"), as("scheduler")...); err != nil {
		return err
	}
	if err := in.daemon("storage-provisioner", program("storage-provisioner"), "--kubeconfig="+pki("provisioner.kubeconfig"),
		"--dir="+filepath.Join(dir, "volumes")); err != nil {
		return err
	}
	return in.wait()
}
