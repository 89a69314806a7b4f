// SPDX-License-Identifier: MIT

package heapcfg

import (
	_ "embed"
	"slices"
)

//go:embed heapcfg.schema.json
var schema []byte

// Schema returns the JSON Schema of heaps.yaml, for editors. It knows the form
// of a config; what the values mean together only the compiler knows.
func Schema() []byte { return slices.Clone(schema) }
