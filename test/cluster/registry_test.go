package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestRegistry: a registered secondary transfers every zone, and the catalog that lists them, from every primary, at once and
// until its registration ends; the catalog is the same everywhere, also at a primary that lost its disk.
func TestRegistry(t *testing.T) {
	c := harness.Start(t, nil)
	api := c.Admin[c.Follower()]
	if _, err := api.Catalog(t.Context()); !adminapi.IsCode(err, adminapi.CodeNotFound) {
		t.Errorf("the catalog of a cluster without secondaries: %v", err)
	}
	key, dev := addKey(t, c, "Secondary-0."), c.Key()
	if err := api.PutSecondary(t.Context(), adminapi.Secondary{Name: "secondary-0", Key: "secondary-0."}); err != nil {
		t.Fatal(err)
	}
	hidden := adminapi.ZoneSettings{AllowUpdate: `key "dev-key";`, AllowQuery: `key "dev-key";`}
	for name, s := range map[string]adminapi.ZoneSettings{"shown.test.": {}, "hidden.test.": hidden} {
		if _, err := api.AddZone(t.Context(), adminapi.AddZone{Name: name, Settings: s}); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := api.Catalog(t.Context())
	if err != nil || catalog.Name != "catalog.zonekeeper.invalid." || catalog.Members != 2 || catalog.Confirmed != 0 {
		t.Fatalf("catalog %+v, %v", catalog, err)
	}
	everywhere := func(when string, want int, zones ...string) {
		t.Helper()
		for _, p := range c.Info().Primaries {
			for _, name := range append(zones, catalog.Name) {
				got := []int{ask(t, &key, p.DNS, name, dns.TypeSOA), xfrRCode(t, &key, p.DNS, name, nil), xfrRCode(t, &key, p.DNS, name, new(uint32))}
				if !slices.Equal(got, []int{want, want, want}) {
					t.Errorf("%s: SOA, AXFR and IXFR of %s at %s: rcodes %v, want %d", when, name, p.Name, got, want)
				}
			}
		}
	}
	everywhere("registered", dns.RcodeSuccess, "example.test.", "shown.test.", "hidden.test.")
	for _, p := range c.Info().Primaries {
		for _, qtype := range []uint16{dns.TypeNS, dns.TypeANY} {
			if got := ask(t, &key, p.DNS, "hidden.test.", qtype); got != dns.RcodeRefused {
				t.Errorf("a query of a hidden zone, type %d, by the secondary at %s: rcode %d", qtype, p.Name, got)
			}
		}
		if got := updateAs(t, &key, p.DNS, zone.MustParseName("shown.test."), harness.A(zone.MustParseName("shown.test."), "x", 60, [4]byte{192, 0, 2, 1})); got != dns.RcodeRefused {
			t.Errorf("an update by the secondary at %s: rcode %d", p.Name, got)
		}
		origin := zone.MustParseName(catalog.Name)
		if got := updateAs(t, &dev, p.DNS, origin, harness.A(origin, "x", 60, [4]byte{192, 0, 2, 1})); got != dns.RcodeRefused {
			t.Errorf("an update of the catalog at %s: rcode %d", p.Name, got)
		}
		if got := xfrRCode(t, &dev, p.DNS, catalog.Name, nil); got != dns.RcodeRefused {
			t.Errorf("a transfer of the catalog by another key at %s: rcode %d", p.Name, got)
		}
	}

	// A change of the set of zones that was acknowledged is in the catalog of every primary.
	members := func(when string, want ...string) {
		t.Helper()
		for _, p := range c.Info().Primaries {
			rrs, err := harness.Asker{Key: &key, Timeout: 5 * time.Second}.Transfer(t.Context(), p.DNS, catalog.Name, nil)
			if err != nil {
				t.Errorf("%s: catalog of %s: %v", when, p.Name, err)
				continue
			}
			var got []string
			for _, rr := range rrs {
				if ptr, ok := rr.(*dns.PTR); ok {
					got = append(got, ptr.Ptr)
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: catalog of %s has %v, want %v", when, p.Name, got, want)
			}
		}
	}
	members("at first", "example.test.", "shown.test.")
	if err := api.DeleteZone(t.Context(), "shown.test.", "shown.test."); err != nil {
		t.Fatal(err)
	}
	members("one deleted", "example.test.")
	if _, err := api.SetZone(t.Context(), "hidden.test.", adminapi.ZoneSettings{AllowUpdate: `key "dev-key";`}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.AddZone(t.Context(), adminapi.AddZone{Name: "shown.test."}); err != nil {
		t.Fatal(err)
	}
	members("one shown, one added", "example.test.", "hidden.test.", "shown.test.")

	refusals(t, api, catalog.Name)

	now, err := api.Catalog(t.Context())
	if err != nil || now.Serial != catalog.Serial+3 {
		t.Errorf("the catalog went from serial %d to %+v with three changes, %v", catalog.Serial, now, err)
	}
	if err := api.ConfirmCatalog(t.Context(), now.Serial); err != nil {
		t.Error(err)
	}
	victim := c.Leader()
	c.Kill(victim)
	c.EmptyDisk(victim)
	c.Restart(victim)
	c.Ready(victim)
	members("after a lost disk", "example.test.", "hidden.test.", "shown.test.")
	if got, err := c.Admin[victim].Catalog(t.Context()); err != nil || got.Serial != now.Serial || got.Confirmed != now.Serial {
		t.Errorf("the primary that lost its disk has %+v, want serial %d, confirmed; %v", got, now.Serial, err)
	}

	if _, err := api.SetZone(t.Context(), "hidden.test.", hidden); err != nil {
		t.Fatal(err)
	}
	everywhere("hidden again", dns.RcodeSuccess, "hidden.test.")
	if err := api.DeleteSecondary(t.Context(), "secondary-0"); err != nil {
		t.Fatal(err)
	}
	everywhere("not registered any more", dns.RcodeRefused, "hidden.test.")
	if err := api.DeleteKey(t.Context(), "secondary-0.", "secondary-0."); err != nil {
		t.Errorf("its key can't be deleted: %v", err)
	}
	c.Verified()
}

// refusals are what the API says no to, and why.
func refusals(t *testing.T, api *adminapi.Client, catalog string) {
	t.Helper()
	ctx := t.Context()
	put := func(s adminapi.Secondary) error { return api.PutSecondary(ctx, s) }
	settings := func(s adminapi.ZoneSettings) error {
		_, err := api.SetZone(ctx, "example.test.", s)
		return err
	}
	_, create := api.CreateCatalog(ctx, "other.test.")
	_, importErr := api.ImportZone(ctx, catalog, strings.NewReader("@ 0 SOA a. b. 9 1 1 1 1\n@ 0 NS a.\n"), adminapi.ImportOptions{Replace: true})
	for what, c := range map[string]struct {
		err        error
		code, text string
	}{
		"name":               {put(adminapi.Secondary{Name: "Secondary", Key: "k."}), adminapi.CodeInvalid, "lower-case"},
		"key missing":        {put(adminapi.Secondary{Name: "s", Key: "nobody."}), adminapi.CodeNotFound, "zonekeeper key add nobody."},
		"key in use":         {put(adminapi.Secondary{Name: "s", Key: "secondary-0."}), adminapi.CodeConflict, "is that of secondary secondary-0"},
		"target":             {put(adminapi.Secondary{Name: "s", Key: "dev-key.", Notify: []string{"ns2"}}), adminapi.CodeInvalid, "write address:port"},
		"remove":             {api.DeleteSecondary(ctx, "nobody"), adminapi.CodeNotFound, "zonekeeper secondary list"},
		"key of a secondary": {api.DeleteKey(ctx, "secondary-0.", "secondary-0."), adminapi.CodeConflict, "is that of secondary secondary-0"},
		"second catalog":     {create, adminapi.CodeConflict, "the catalog exists: " + catalog},
		"catalog deleted":    {api.DeleteZone(ctx, catalog, catalog), adminapi.CodeConflict, "is the catalog"},
		"catalog imported":   {importErr, adminapi.CodeConflict, "is the catalog"},
		"confirmed ahead":    {api.ConfirmCatalog(ctx, 1<<30), adminapi.CodeConflict, "can't be confirmed"},
		"guarantee":          {settings(adminapi.ZoneSettings{Guarantee: &adminapi.Guarantee{Secondaries: 2}}), adminapi.CodeConflict, "only 1 of ours"},
		"guarantee's number": {settings(adminapi.ZoneSettings{Guarantee: &adminapi.Guarantee{Secondaries: 300}}), adminapi.CodeInvalid, "0 to 255"},
		"key's guarantee":    {api.SetKeyGuarantee(ctx, "dev-key.", adminapi.Guarantee{Secondaries: 1, LimitMS: 20_000}), adminapi.CodeInvalid, "at most 10000"},
		"also-notify":        {settings(adminapi.ZoneSettings{AlsoNotify: []string{"192.0.2.1:53 key nobody."}}), adminapi.CodeConflict, "the key does not exist"},
	} {
		if !adminapi.IsCode(c.err, c.code) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s and %q", what, c.err, c.code, c.text)
		}
	}
	// The settings of the catalog, and guarantees that can be kept, are not refused.
	if z, err := api.SetZone(ctx, catalog, adminapi.ZoneSettings{AllowQuery: "none;", AlsoNotify: []string{"127.0.0.1:1 key secondary-0."}}); err != nil || !z.Catalog {
		t.Errorf("settings of the catalog: %+v, %v", z, err)
	}
	if err := api.SetKeyGuarantee(ctx, "dev-key.", adminapi.Guarantee{Secondaries: 1, LimitMS: 50}); err != nil {
		t.Error(err)
	}
	if k, err := api.Key(ctx, "dev-key.", false); err != nil || k.Guarantee == nil || *k.Guarantee != (adminapi.Guarantee{Secondaries: 1, LimitMS: 50}) {
		t.Errorf("key with a guarantee: %+v, %v", k, err)
	}
	if err := api.SetKeyGuarantee(ctx, "dev-key.", adminapi.Guarantee{}); err != nil {
		t.Error(err)
	}
}
