package front

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// keyRotation: the key of the PROXY headers is replaced in the steps of docs/front.md, under load, and no front or primary is
// restarted; clients' addresses are believed all the time, and what the old key proves is refused in the end.
func keyRotation(t *testing.T, s *site) {
	keys, err := proxyproto.ReadKeys(s.proxyKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	old, next := keys[0], make([]byte, 32)
	_, _ = rand.Read(next) // never fails
	st := s.startStream("udp")
	for i, step := range []proxyproto.Keys{{old, next}, {next, old}, {next}} {
		var text string
		for _, k := range step {
			text += base64.StdEncoding.EncodeToString(k) + "\n"
		}
		if err := os.WriteFile(s.proxyKeyFile+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.proxyKeyFile+".new", s.proxyKeyFile); err != nil {
			t.Fatal(err)
		}
		// Without waiting: a Secret does not reach all nodes at once either.
		s.provenUpdate(t, fmt.Sprintf("rotation-%d-a", i))
		words := []string{"the PROXY keys are replaced", `keys="` + step.String() + `"`}
		if len(step) == 1 {
			words[1] = "keys=" + step.String()
		}
		for _, name := range nodeNames() {
			s.nodes[name].said(words...)
		}
		for _, p := range primaryNames() {
			s.logged(p, words...)
		}
		s.provenUpdate(t, fmt.Sprintf("rotation-%d-b", i))
	}
	st.check(t)

	msg, err := unsigned("rotation-old").Pack()
	if err != nil {
		t.Fatal(err)
	}
	to := addrPort(s.Host("primary-0").V4, portDNS)
	for key, want := range map[string]int{string(old): -1, string(next): dns.RcodeSuccess} {
		wait := patient
		if want < 0 {
			wait = silence
		}
		header := proxyproto.Append(nil, netip.AddrPortFrom(s.Host("client").V4, 4711), netip.MustParseAddrPort(to), true, []byte(key), time.Now(), msg)
		rcode, err := s.sendRaw(spareName, "udp", to, append(header, msg...), wait)
		if err != nil {
			rcode = -1
		}
		if rcode != want {
			t.Errorf("a header that %s proves: %d (%v), want %d", proxyproto.Keys{[]byte(key)}, rcode, err, want)
		}
	}
}

// provenUpdate makes an update over UDP that is admitted because of the client's address, which the front proves.
func (s *site) provenUpdate(t *testing.T, label string) {
	t.Helper()
	answer, err := s.ask("client", "udp", endpoints()[0], unsigned(label), nil)
	if err != nil || answer.Rcode != dns.RcodeSuccess {
		t.Errorf("%s: the client's address is not believed: %v, %v", label, answer, err)
	}
}
