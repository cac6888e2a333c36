package backends

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// kubeconfig is what is read of such a file (Kubernetes, "Organizing Cluster Access Using kubeconfig Files"). Octets in "…-data" are
// base64, as encoding/json reads []byte.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster   string `json:"cluster"`
			User      string `json:"user"`
			Namespace string `json:"namespace"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server string `json:"server"`
			CAFile string `json:"certificate-authority"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token     string `json:"token"`
			TokenFile string `json:"tokenFile"`
			CertFile  string `json:"client-certificate"`
			Cert      []byte `json:"client-certificate-data"`
			KeyFile   string `json:"client-key"`
			Key       []byte `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

// Kubeconfig fills in how the current context of a kubeconfig reaches the API server, for a front outside of the cluster: server, CA, and
// a token or a client's certificate. Helper programs (exec) and passwords are not supported. The namespace stays when it is set.
func (c SlicesConfig) Kubeconfig(path string) (SlicesConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("backends: kubeconfig: %w; name a file that this program may read", err)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(b, &k); err != nil {
		return c, fmt.Errorf("backends: kubeconfig %s: %w", path, err)
	}
	if err := k.fill(&c, filepath.Dir(path)); err != nil {
		return c, fmt.Errorf("backends: kubeconfig %s: %w", path, err)
	}
	return c, nil
}

// fill takes file names as relative to dir.
func (k kubeconfig) fill(c *SlicesConfig, dir string) error {
	file := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	cluster, user := "", ""
	for _, x := range k.Contexts {
		if x.Name == k.CurrentContext {
			cluster, user = x.Context.Cluster, x.Context.User
			if c.Namespace == "" {
				c.Namespace = x.Context.Namespace
			}
		}
	}
	for _, x := range k.Clusters {
		if x.Name == cluster {
			c.API, c.CAFile, c.CA = x.Cluster.Server, file(x.Cluster.CAFile), x.Cluster.CA
		}
	}
	if c.API == "" {
		return fmt.Errorf("the context %q leads to no cluster with a server; set current-context to one that does", k.CurrentContext)
	}
	for _, x := range k.Users {
		if x.Name != user {
			continue
		}
		u := x.User
		c.Token, c.TokenFile = u.Token, file(u.TokenFile)
		cert, err := octets(u.Cert, file(u.CertFile))
		if err != nil {
			return err
		}
		key, err := octets(u.Key, file(u.KeyFile))
		if err != nil {
			return err
		}
		if len(cert) > 0 {
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				return fmt.Errorf("the certificate of user %q: %w; give a certificate and the key that belongs to it", user, err)
			}
			c.Client = []tls.Certificate{pair}
		}
	}
	if c.Token == "" && c.TokenFile == "" && len(c.Client) == 0 {
		return fmt.Errorf("user %q has neither a token nor a certificate, and other ways are not supported; make a service account with a token", user)
	}
	if c.CAFile == "" && len(c.CA) == 0 {
		return errors.New("the cluster has no certificate-authority; give one")
	}
	return nil
}

// octets gives data, or what the file has.
func octets(data []byte, file string) ([]byte, error) {
	if len(data) > 0 || file == "" {
		return data, nil
	}
	return os.ReadFile(file)
}
