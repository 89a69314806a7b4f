// SPDX-License-Identifier: MIT

package cli

import (
	"github.com/spf13/cobra"

	"github.com/dmaheap/dmaheap/heapcfg"
)

func newSchema(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of heaps.yaml, for editors",
		Long: `Print the JSON Schema of heaps.yaml. With yaml-language-server, which most
editors use, save it beside the config and start the config with
"# yaml-language-server: $schema=heapcfg.schema.json".`,
		Example: `  heapctl schema > heapcfg.schema.json`,
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := env.Stdout.Write(heapcfg.Schema())
			return err
		},
	}
}
