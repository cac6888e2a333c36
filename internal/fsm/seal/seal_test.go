package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSealOpen(t *testing.T) {
	s, err := New(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := New(bytes.Repeat([]byte{8}, KeySize))
	secret := []byte("0123456789abcdef")
	box := s.Seal("k", 3, secret)
	got, err := s.Open("k", 3, box)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if bytes.Contains(box, secret) {
		t.Error("the secret is in the clear")
	}
	if bytes.Equal(box, s.Seal("k", 3, secret)) {
		t.Error("sealing twice gave the same octets")
	}
	altered := bytes.Clone(box)
	altered[len(altered)-1] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"other cluster key": func() ([]byte, error) { return other.Open("k", 3, box) },
		"other name":        func() ([]byte, error) { return s.Open("j", 3, box) },
		"other version":     func() ([]byte, error) { return s.Open("k", 4, box) },
		"altered":           func() ([]byte, error) { return s.Open("k", 3, altered) },
		"short":             func() ([]byte, error) { return s.Open("k", 3, box[:5]) },
		"empty":             func() ([]byte, error) { return s.Open("k", 3, nil) },
	} {
		if _, err := try(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", name, err)
		}
	}
}

func TestID(t *testing.T) {
	s, _ := New(bytes.Repeat([]byte{7}, KeySize))
	a := s.ID("k", "hmac-sha256", []byte("x"))
	if a != s.ID("k", "hmac-sha256", []byte("x")) {
		t.Error("equal secrets have different identities")
	}
	for _, b := range [][16]byte{
		s.ID("k", "hmac-sha512", []byte("x")), s.ID("j", "hmac-sha256", []byte("x")),
		s.ID("k", "hmac-sha256", []byte("y")), s.ID("kh", "mac-sha256", []byte("x")),
	} {
		if a == b {
			t.Error("different secrets have one identity")
		}
	}
}

func TestReadKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	want := bytes.Repeat([]byte{9}, KeySize)
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(want)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadKeyFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("ReadKeyFile = %x, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("c2hvcnQ="), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(path); err == nil || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("short key: %v, want an error with a remedy", err)
	}
	if _, err := New([]byte("short")); err == nil {
		t.Error("New took a short key")
	}
}
