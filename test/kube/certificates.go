package kube

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// identity is what a pod shows of itself at a port: the certificate of a Secret.
type identity struct {
	pod          string
	port         int
	secret, file string
}

// forFronts is the port where a PROXY header comes before the handshake.
const forFronts = 8540

// identities are those of the cluster's programs: at their admin APIs, to fronts and in the log.
func identities() (all []identity) {
	for i := range 3 {
		pod := fmt.Sprintf("%s-primary-%d", cluster, i)
		all = append(all, identity{pod, 8443, cluster + "-primary-tls", "tls.crt"}, identity{pod, forFronts, cluster + "-primary-tls", "tls.crt"},
			identity{pod, 2380, cluster + "-log-tls", "tls.crt"})
	}
	for i := range 2 {
		all = append(all, identity{fmt.Sprintf("%s-secondary-%d", cluster, i), 8443, cluster + "-secondary-tls", fmt.Sprintf("secondary-%d.crt", i)})
	}
	return all
}

func (i identity) String() string { return fmt.Sprintf("%s, port %d", i.pod, i.port) }

// served is the certificate that a client on the pod's node is shown now. It is of the CA, and of the name, that the Secret is about.
func (s *site) served(i identity) (shown []byte, err error) {
	p, err := s.pod(namespace, i.pod)
	if err != nil {
		return nil, err
	}
	var secret corev1.Secret
	if err := get(s, &secret, "-n", namespace, "secret", i.secret); err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return nil, fmt.Errorf("secret %s has no CA", i.secret)
	}
	network, err := s.Network(p.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	defer network.Close()
	var conn net.Conn
	dialer := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}
	if err := network.Inside(func() (err error) {
		conn, err = dialer.DialContext(s.t.Context(), "tcp", net.JoinHostPort(p.Status.PodIP, strconv.Itoa(i.port)))
		return err
	}); err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if i.port == forFronts {
		if _, err := conn.Write([]byte("PROXY UNKNOWN\r\n")); err != nil {
			return nil, err
		}
	}
	// A server of TLS 1.3 looks at the client's certificate, of which there is none, after it has shown its own.
	client := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: p.Name + "." + p.Spec.Subdomain + "." + domain})
	if err := client.HandshakeContext(s.t.Context()); err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates[0].Raw, nil
}

// stored is the certificate that the operator has made last.
func (s *site) stored(i identity) ([]byte, error) {
	var secret corev1.Secret
	if err := get(s, &secret, "-n", namespace, "secret", i.secret); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(secret.Data[i.file])
	if block == nil {
		return nil, fmt.Errorf("secret %s has no certificate %s", i.secret, i.file)
	}
	return block.Bytes, nil
}

// serves waits until every program shows the certificate that is stored, and none of old. It returns those.
func (s *site) serves(old map[identity][]byte) map[identity][]byte {
	s.t.Helper()
	all := map[identity][]byte{}
	for _, i := range identities() {
		s.until(i.String()+" serves the certificate of its Secret", func() error {
			want, err := s.stored(i)
			if err != nil {
				return err
			}
			have, err := s.served(i)
			switch {
			case err != nil:
				return err
			case !bytes.Equal(have, want):
				return errors.New("it is another one")
			case bytes.Equal(have, old[i]):
				return errors.New("it is the old one")
			}
			all[i] = have
			return nil
		})
	}
	return all
}

// renewed makes all certificates anew, and ends the operator in the middle. Every program serves its new one, and none has restarted.
func renewed(s *site) {
	old := s.serves(nil)
	began := s.containers()
	s.kubectl("delete", "secret", "-n", namespace, cluster+"-primary-tls", cluster+"-front-tls", cluster+"-secondary-tls", cluster+"-log-tls")
	killOperator(s)
	s.serves(old)
	if now := s.containers(); now != began {
		s.t.Errorf("containers were\n%s\nand are\n%s", began, now)
	}
}

// containers are those of the cluster's pods: a restarted one has another name.
func (s *site) containers() string {
	s.t.Helper()
	return s.kubectl("get", "pods", "-n", namespace, "-o", `go-template={{range .items}}{{.metadata.name}}{{range .status.containerStatuses}} {{.containerID}}{{end}}`+"\n{{end}}")
}
