package cli

import "github.com/spf13/cobra"

func (p *Program) benchCommand() *cobra.Command {
	return &cobra.Command{Use: "bench", Hidden: true, Args: exactly()}
}
