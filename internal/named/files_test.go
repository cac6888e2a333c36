package named

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	memberFile  = membersDir + "/__catz___default_catalog.invalid_a.test.db"
	journalFile = memberFile + ".jnl"
)

// disk is a secondary's directory with a catalog and one member, last written a minute ago.
func disk(t *testing.T) owner {
	t.Helper()
	o := owner{dir: filepath.Join(t.TempDir(), "named")}
	if err := os.MkdirAll(filepath.Join(o.dir, membersDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{catalogFile, memberFile, journalFile, confFile, keysFile} {
		put(t, o, name, "content of "+name, time.Now().Add(-time.Minute))
	}
	return o
}

func put(t *testing.T, o owner, name, content string, at time.Time) {
	t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// TestExamine: what named wrote is told from what it did not, and both from what nobody knows.
func TestExamine(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for _, tc := range []struct {
		what              string
		ended             bool
		do                func(o owner)
		damaged, doubtful []string
	}{
		{what: "nothing", ended: true},
		{what: "nothing after a crash"},
		{what: "another time", ended: true, do: func(o owner) { put(t, o, memberFile, "content of "+memberFile, long) }},
		{what: "a bit flipped", do: func(o owner) {
			info := stat(t, o, memberFile)
			put(t, o, memberFile, "bontent of "+memberFile, info.ModTime())
		}, damaged: []string{memberFile}},
		{what: "written after an orderly end", ended: true, do: func(o owner) { put(t, o, journalFile, "other", time.Now()) }, damaged: []string{journalFile}},
		{what: "written before a crash", do: func(o owner) { put(t, o, journalFile, "other", time.Now()) }, doubtful: []string{journalFile}},
		{what: "the catalog cut after an orderly end", ended: true, do: func(o owner) { put(t, o, catalogFile, "cont", time.Now()) }, damaged: []string{catalogFile}},
		{what: "new", ended: true, do: func(o owner) { put(t, o, membersDir+"/b.db", "b", time.Now()) }, doubtful: []string{membersDir + "/b.db"}},
		{what: "a temporary file of named", do: func(o owner) { put(t, o, membersDir+"/tmp-abcdef", "b", time.Now()) }},
		{what: "a journal lost after an orderly end", ended: true, do: func(o owner) { remove(t, o, journalFile) }, damaged: []string{journalFile}},
		{what: "a journal lost before a crash", do: func(o owner) { remove(t, o, journalFile) }},
		{what: "a zone lost", ended: true, do: func(o owner) { remove(t, o, memberFile); remove(t, o, journalFile) }},
	} {
		t.Run(tc.what, func(t *testing.T) {
			o := disk(t)
			rec, changed, err := o.look(t.Context(), record{}, settled)
			if err != nil || !changed || len(rec.Files) != 3 {
				t.Fatalf("look: %+v, %t, %v", rec, changed, err)
			}
			rec.Ended = tc.ended
			if err := o.writeRecord(rec); err != nil {
				t.Fatal(err)
			}
			if tc.do != nil {
				tc.do(o)
			}
			if rec, err = o.readRecord(); err != nil {
				t.Fatal(err)
			}
			ev, err := o.examine(t.Context(), rec)
			if err != nil || !slices.Equal(ev.damaged, tc.damaged) || !slices.Equal(ev.doubtful, tc.doubtful) {
				t.Errorf("%+v, %v; want damaged %q, in doubt %q", ev, err, tc.damaged, tc.doubtful)
			}
		})
	}
}

func stat(t *testing.T, o owner, name string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(filepath.Join(o.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func remove(t *testing.T, o owner, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(o.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestExamineWithoutARecord: nothing is known to be right, and nothing is called damaged.
func TestExamineWithoutARecord(t *testing.T) {
	o := disk(t)
	put(t, o, recordFile, `{"files": {`, time.Now())
	rec, err := o.readRecord()
	if err == nil {
		t.Error("a torn record was read")
	}
	ev, err := o.examine(t.Context(), rec)
	if err != nil || len(ev.damaged) != 0 || len(ev.doubtful) != 3 {
		t.Errorf("%+v, %v", ev, err)
	}
}

// TestLook: what is unchanged is not read again, what was written a moment ago is left out.
func TestLook(t *testing.T) {
	o := disk(t)
	rec, _, err := o.look(t.Context(), record{}, settled)
	if err != nil {
		t.Fatal(err)
	}
	put(t, o, journalFile, "more", time.Now())
	seen := rec.Files[catalogFile]
	seen.SHA256 = "as it was"
	rec.Files[catalogFile] = seen
	again, changed, err := o.look(t.Context(), rec, settled)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	if _, ok := again.Files[journalFile]; ok || len(again.Files) != 2 || again.Files[catalogFile].SHA256 != "as it was" {
		t.Errorf("%+v", again.Files)
	}
	if _, changed, err := o.look(t.Context(), again, settled); changed || err != nil {
		t.Errorf("nothing has happened: %t, %v", changed, err)
	}
	if all, _, err := o.look(t.Context(), again, 0); err != nil || len(all.Files) != 3 {
		t.Errorf("%+v, %v", all.Files, err)
	}
}

// TestDiscard: a zone file and its journal go together, and are kept.
func TestDiscard(t *testing.T) {
	for _, name := range []string{memberFile, journalFile} {
		o := disk(t)
		if err := o.discard(name); err != nil {
			t.Fatal(err)
		}
		found, err := o.zoneFiles()
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %v left, %v", name, found, err)
		}
		kept, err := os.ReadDir(o.damagedFiles())
		if err != nil || len(kept) != 2 {
			t.Errorf("%s: %v kept, %v", name, kept, err)
		}
		if err := o.discard(name); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

// TestMemberFile: the names are BIND's.
func TestMemberFile(t *testing.T) {
	s := &SecondaryConf{Catalog: zone.MustParseName("catalog.invalid.")}
	for name, want := range map[string]string{
		"a.test.":      memberFile,
		`a\/b\:c.test`: membersDir + "/__catz__",
		"a-very-long-name-that-goes-on-and-on.and-on-and-on.example.test.": membersDir + "/__catz__",
	} {
		got := s.MemberFile(zone.MustParseName(name))
		if got != want && (want == memberFile || len(got) != len(want)+64+len(".db")) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
