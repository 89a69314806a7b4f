// SPDX-License-Identifier: MIT

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/heapcfg/fdt"
)

// docsDTB writes the board that the documents speak of: QEMU's memory, and a
// codec with a label.
func docsDTB(t *testing.T) string {
	t.Helper()
	return virtWith(t, "docs.dtb", func(root *fdt.Node) {
		root.Set("compatible", fdt.StringList("acme,board", "linux,dummy-virt"))
		root.AddChild(&fdt.Node{Name: "codec@9000000"}).Set("phandle", fdt.U32s(1))
		root.AddChild(&fdt.Node{Name: "__symbols__"}).Set("codec", fdt.StringList("/codec@9000000"))
	})
}

// TestDocumentedConfigs compiles every config that the documents show, with
// all of its variants.
func TestDocumentedConfigs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, name := range append(files, "../../README.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(data), "```yaml\n")[1:] {
			text, _, ok := strings.Cut(block, "```")
			if !ok {
				t.Errorf("%s: a block is not closed", name)
			}
			shown++
			config := writeTestFile(t, "heaps.yaml", []byte(text))
			cfg, _ := heapcfg.Parse("heaps.yaml", []byte(text))
			variants := []string{""}
			if cfg != nil {
				variants = append(variants, cfg.Variants...)
			}
			for _, v := range variants {
				t.Run(fmt.Sprintf("%s-%d-%s", filepath.Base(name), i+1, v), func(t *testing.T) {
					code, stdout, stderr := heapctl(t, "compile", config, "--base", docsDTB(t), "--check", "--variant", v)
					if code != ExitOK {
						t.Errorf("exit %d\n%s%s\n%s", code, stdout, stderr, text)
					}
				})
			}
		}
	}
	if shown < 5 {
		t.Errorf("only %d configs are shown", shown)
	}
}

// TestFormatNamesEveryKey keeps docs/format.md complete: every property of the
// schema stands in it.
func TestFormatNamesEveryKey(t *testing.T) {
	data, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := heapcfg.Keys()
	if len(keys) < 40 {
		t.Fatalf("only %d keys", len(keys))
	}
	for _, key := range keys {
		if text := string(data); !strings.Contains(text, "`"+key+"`") && !strings.Contains(text, "`kconfig."+key+"`") && !strings.Contains(text, "## "+key+"\n") && !strings.Contains(text, key+":") {
			t.Errorf("docs/format.md does not speak of %q", key)
		}
	}
}
