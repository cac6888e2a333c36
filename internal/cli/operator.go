package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"
)

// operatorProgram is the program that "operator" executes. It lies beside this one.
const operatorProgram = "zonekeeper-operator"

func (p *Program) operatorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "operator [FLAGS]", Short: "Execute zonekeeper-operator, which makes BindClusters in Kubernetes what their specs say",
		Long: `Execute zonekeeper-operator, the program of its own beside this one that makes BindClusters in
Kubernetes what their specs say. All flags are that program's.`,
		DisableFlagParsing: true, DisableFlagsInUseLine: true,
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		self, err := p.Executable()
		if err != nil {
			return fmt.Errorf("where this program lies: %w; execute %s itself", err, operatorProgram)
		}
		path := filepath.Join(filepath.Dir(self), operatorProgram)
		err = p.Exec(path, append([]string{path}, args...))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s does not exist; put %s beside zonekeeper (make operator), or use the image, which has both", path, operatorProgram)
		}
		return fmt.Errorf("%s: %w", path, err) // Exec returns only when it has failed
	}
	return cmd
}
