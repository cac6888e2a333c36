package front

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// kube is an API server with one EndpointSlice, the primaries'. It knows the list, the watch, and one token at a time.
type kube struct {
	dir string // of the token and the CA
	n   *node

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	version int
	oldest  int // versions before it are gone: 410
	token   string
	pods    map[string]netip.Addr
	refused int // requests with another token
}

const (
	kubeAddr      = "127.0.0.1:6443"
	kubeNamespace = "dns"
	kubeService   = "primaries"
)

// newKube starts one on a node's loopback.
func newKube(n *node, ca, cert, key string, pods map[string]netip.Addr) *kube {
	n.s.t.Helper()
	k := &kube{dir: n.s.t.TempDir(), n: n, changed: make(chan struct{}), version: 1, pods: pods}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		n.s.t.Fatal(err)
	}
	var l net.Listener
	if err := n.Inside(func() (err error) {
		l, err = net.Listen("tcp", kubeAddr) //nolint:noctx // at once
		return err
	}); err != nil {
		n.s.t.Fatal(err)
	}
	srv := &http.Server{Handler: k, ReadHeaderTimeout: time.Second, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}}
	go func() { _ = srv.ServeTLS(l, "", "") }() // until it is closed
	n.s.t.Cleanup(func() { _ = srv.Close() })
	k.replaceToken("first")
	n.object["primaries"].(object)["endpoint_slices"] = object{
		"api": "https://" + kubeAddr, "ca": ca, "token_file": filepath.Join(k.dir, "token"), "namespace": kubeNamespace, "service": kubeService,
	}
	n.object["primaries"].(object)["static"] = nil
	n.write()
	return k
}

// replaceToken makes another token the only one, as Kubernetes does before the old one ends.
func (k *kube) replaceToken(token string) {
	k.n.s.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, "token"), []byte(token+"\n"), 0o600); err != nil {
		k.n.s.t.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.token = token
	k.wake()
}

// set changes the pods.
func (k *kube) set(pods map[string]netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pods = pods
	k.version++
	k.wake()
}

// forget ends every watch, and has none go on from where it was.
func (k *kube) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.version++
	k.oldest = k.version
	k.wake()
}

func (k *kube) wake() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// slice is the object; the caller holds the lock.
func (k *kube) slice() object {
	var endpoints []object
	for name, addr := range k.pods {
		endpoints = append(endpoints, object{"addresses": []string{addr.String()}, "targetRef": object{"kind": "Pod", "name": name}})
	}
	return object{"metadata": object{"name": "primaries-1", "resourceVersion": fmt.Sprint(k.version)}, "addressType": "IPv4", "endpoints": endpoints}
}

// ServeHTTP implements http.Handler.
func (k *kube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	q := r.URL.Query()
	reply := json.NewEncoder(w)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+k.token:
		k.refused++
		w.WriteHeader(http.StatusUnauthorized)
		_ = reply.Encode(object{"code": http.StatusUnauthorized, "message": "Unauthorized"}) // the code says it
	case !strings.HasSuffix(r.URL.Path, "/namespaces/"+kubeNamespace+"/endpointslices") || q.Get("labelSelector") != "kubernetes.io/service-name="+kubeService:
		w.WriteHeader(http.StatusNotFound)
	case q.Get("watch") != "1":
		_ = reply.Encode(object{"metadata": object{"resourceVersion": fmt.Sprint(k.version)}, "items": []object{k.slice()}}) // it asks again
	default:
		var seen int
		if _, err := fmt.Sscan(q.Get("resourceVersion"), &seen); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		k.watch(w, r, seen)
	}
}

// watch tells what changes, until the client leaves or the token is another. The lock is held but for the waiting.
func (k *kube) watch(w http.ResponseWriter, r *http.Request, seen int) {
	reply := json.NewEncoder(w)
	token := k.token
	for r.Context().Err() == nil && k.token == token {
		switch {
		case seen < k.oldest:
			_ = reply.Encode(object{"type": "ERROR", "object": object{"code": http.StatusGone, "message": "too old resource version"}}) // it sees the end
			return
		case seen < k.version:
			seen = k.version
			_ = reply.Encode(object{"type": "MODIFIED", "object": k.slice()}) // as above
		}
		w.(http.Flusher).Flush()
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		k.mu.Lock()
	}
}
