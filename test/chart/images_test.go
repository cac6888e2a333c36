package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/front"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/test/chart/quickstart"
)

// programs of the image, with the package and version that each is from.
func programs(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "images", "zonekeeper", "programs.txt"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][2]string{}
	versions := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(f) != 3 || all[f[0]] != [2]string{} {
			t.Fatalf("programs.txt: %q is no program that is new, with package and version", line)
		}
		if v := versions[f[1]]; v != "" && v != f[2] {
			t.Errorf("programs.txt wants package %s in the versions %s and %s", f[1], v, f[2])
		}
		all[f[0]], versions[f[1]] = [2]string{f[1], f[2]}, f[2]
	}
	return all
}

// The image has what pods run by their configurations' defaults, and what the quick start runs in it.
func TestImageHasPrograms(t *testing.T) {
	have := programs(t)
	f := front.DefaultConfig()
	for _, name := range []string{primary.DefaultConfig().Named.Path, secondary.DefaultConfig().Named.Path, f.HAProxy.Path, f.Keepalived.Path, "nft"} {
		if have[name] == [2]string{} {
			t.Errorf("programs.txt lacks %q, which pods run", name)
		}
	}
	page, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := quickstart.Steps(string(page))
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, s := range steps {
		for _, m := range regexp.MustCompile(`exec (?:-i )?client -- (\S+)`).FindAllStringSubmatch(s.Script, -1) {
			run++
			if have[m[1]] == [2]string{} {
				t.Errorf("programs.txt lacks %q, which the quick start runs", m[1])
			}
		}
	}
	if run == 0 {
		t.Error("the quick start runs nothing in its pod")
	}
	for name, release := range map[string]string{"named": "1:9.20.", "haproxy": "3.0.", "keepalived": "1:2.3."} {
		if !strings.HasPrefix(have[name][1], release) {
			t.Errorf("%s is of version %s; the documentation says %s", name, have[name][1], release)
		}
	}
}

// The Dockerfile builds what it copies from what is there, takes nothing that moves, and ends as a user who is not root.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "images", "zonekeeper", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	file := string(text)
	for _, m := range regexp.MustCompile(`(?m)^FROM (?:--\S+ )?(\S+)`).FindAllStringSubmatch(file, -1) {
		if !slices.Contains([]string{"${GO_IMAGE}", "${DEBIAN_IMAGE}", "scratch"}, m[1]) {
			t.Errorf("it begins with %s, which is not given by digest", m[1])
		}
	}
	for _, name := range []string{"GO_IMAGE", "DEBIAN_IMAGE", "SNAPSHOT", "SOURCE_DATE_EPOCH"} {
		if !regexp.MustCompile(`(?m)^ARG ` + name + `$`).MatchString(file) {
			t.Errorf("%s has a default, or is no argument: whoever builds has to say it", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY ([a-z][^-\n]*) \S+$`).FindAllStringSubmatch(file, -1) {
		for _, source := range strings.Fields(m[1]) {
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Errorf("it copies %s: %v", source, err)
			}
			top, _, _ := strings.Cut(source, "/")
			if !strings.Contains(string(ignored), "\n!"+top+"\n") {
				t.Errorf(".dockerignore keeps %s from it", source)
			}
		}
	}
	users := regexp.MustCompile(`(?m)^USER (\S+)$`).FindAllStringSubmatch(file, -1)
	if p := deployment(t, releases()["default"]).Spec.Template.Spec.SecurityContext; len(users) != 1 || users[0][1] != "10053:10053" || *p.RunAsUser != 10053 {
		t.Errorf("users of the image are %v, the operator's pods run as %d", users, *p.RunAsUser)
	}
}

// Kustomize finds every definition: its list is that of the folder.
func TestKustomizeDefinitions(t *testing.T) {
	dir := filepath.Join(chartDir, "files", "crds")
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yml"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	for _, f := range files {
		if !strings.Contains(string(text), "\n  - "+filepath.Base(f)+"\n") {
			t.Errorf("kustomization.yml lacks %s", filepath.Base(f))
		}
	}
	if n := strings.Count(string(text), "\n  - "); n != len(files) {
		t.Errorf("kustomization.yml has %d definitions, the folder %d", n, len(files))
	}
}
