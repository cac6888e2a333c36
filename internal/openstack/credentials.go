package openstack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Credentials open an OpenStack project. They print as [redacted].
type Credentials struct {
	AuthURL, Region           string
	Username, Password        string
	UserDomain, UserDomainID  string
	Project, ProjectID        string
	ProjectDomain             string
	ProjectDomainID           string
	AppID, AppName, AppSecret string // application credential
	CABundle                  string // PEM; the system's when empty
	Interface                 string // public, internal or admin
}

// String keeps secrets out of logs.
func (Credentials) String() string { return "[redacted]" }

// GoString keeps them out of %#v.
func (Credentials) GoString() string { return "[redacted]" }

// LogValue implements slog.LogValuer.
func (Credentials) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// digest tells credentials apart without keeping them.
func (c Credentials) digest() [sha256.Size]byte {
	type plain Credentials
	return sha256.Sum256(fmt.Appendf(nil, "%q", plain(c)))
}

// FromSecret reads the entries of a Secret: a clouds.yaml with one cloud under the key that is named, or else Gardener's keys. A CA bundle
// is an entry of its own, caCert or cacert, because a path in clouds.yaml would be one of this process.
func FromSecret(data map[string][]byte, key string) (Credentials, error) {
	get := func(k string) string { return strings.TrimSpace(string(data[k])) }
	var c Credentials
	if text, ok := data[key]; ok && key != "" {
		var err error
		if c, err = fromClouds(text); err != nil {
			return Credentials{}, fmt.Errorf("entry %s: %w", key, err)
		}
		if c.CABundle = get("caCert"); c.CABundle == "" {
			c.CABundle = get("cacert")
		}
	} else {
		c = Credentials{
			AuthURL: get("authURL"), Region: get("region"), UserDomain: get("domainName"), ProjectDomain: get("domainName"), Project: get("tenantName"),
			Username: get("username"), Password: string(data["password"]), CABundle: get("caCert"),
			AppID: get("applicationCredentialID"), AppName: get("applicationCredentialName"), AppSecret: string(data["applicationCredentialSecret"]),
		}
	}
	return c, c.validate()
}

func (c Credentials) validate() error {
	var errs []error
	if c.AuthURL == "" {
		errs = append(errs, errors.New("no auth URL; set authURL, or auth.auth_url of clouds.yaml"))
	}
	switch {
	case c.AppSecret != "" && c.Password != "":
		errs = append(errs, errors.New("both a password and an application credential's secret; keep one"))
	case c.AppSecret != "" && c.AppID == "" && (c.AppName == "" || c.Username == ""):
		errs = append(errs, errors.New("an application credential's secret without its ID; set applicationCredentialID, or its name and username"))
	case c.AppSecret == "" && (c.Password == "" || c.Username == ""):
		errs = append(errs, errors.New("neither username and password nor an application credential; set one of them"))
	case c.AppSecret == "" && c.Project == "" && c.ProjectID == "":
		errs = append(errs, errors.New("no project; set tenantName, or auth.project_name of clouds.yaml"))
	}
	return errors.Join(errs...)
}

// cloud is what is read of a clouds.yaml.
type cloud struct {
	Auth struct {
		AuthURL           string `yaml:"auth_url"`
		Username          string `yaml:"username"`
		Password          string `yaml:"password"`
		ProjectName       string `yaml:"project_name"`
		ProjectID         string `yaml:"project_id"`
		DomainName        string `yaml:"domain_name"`
		UserDomainName    string `yaml:"user_domain_name"`
		UserDomainID      string `yaml:"user_domain_id"`
		ProjectDomainName string `yaml:"project_domain_name"`
		ProjectDomainID   string `yaml:"project_domain_id"`
		AppID             string `yaml:"application_credential_id"`
		AppName           string `yaml:"application_credential_name"`
		AppSecret         string `yaml:"application_credential_secret"`
	} `yaml:"auth"`
	RegionName string `yaml:"region_name"`
	Interface  string `yaml:"interface"`
}

func fromClouds(text []byte) (Credentials, error) {
	var file struct {
		Clouds map[string]cloud `yaml:"clouds"`
	}
	if yaml.Unmarshal(text, &file) != nil { // its error would quote the file
		return Credentials{}, errors.New("is no YAML, or a value has the wrong type; write a clouds.yaml")
	}
	if len(file.Clouds) != 1 {
		return Credentials{}, fmt.Errorf("has %d clouds; leave one", len(file.Clouds))
	}
	var c Credentials
	for _, x := range file.Clouds {
		a := x.Auth
		c = Credentials{
			AuthURL: a.AuthURL, Region: x.RegionName, Interface: x.Interface, Username: a.Username, Password: a.Password, Project: a.ProjectName, ProjectID: a.ProjectID,
			UserDomain: a.UserDomainName, UserDomainID: a.UserDomainID, ProjectDomain: a.ProjectDomainName, ProjectDomainID: a.ProjectDomainID,
			AppID: a.AppID, AppName: a.AppName, AppSecret: a.AppSecret,
		}
		if c.UserDomain == "" && c.UserDomainID == "" {
			c.UserDomain = a.DomainName
		}
		if c.ProjectDomain == "" && c.ProjectDomainID == "" {
			c.ProjectDomain = a.DomainName
		}
	}
	return c, nil
}
