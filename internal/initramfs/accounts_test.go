// SPDX-License-Identifier: MIT

package initramfs

import "testing"

func TestAccounts(t *testing.T) {
	files, err := Accounts([]byte(`
SUBSYSTEM=="dma_heap", KERNEL=="a", GROUP="video"
SUBSYSTEM=="dma_heap", KERNEL=="b", GROUP="camera", OWNER="cam"
SUBSYSTEM=="dma_heap", KERNEL=="c", GROUP="camera"
`))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Name] = string(f.Data)
	}
	for file, want := range map[string]string{
		"/etc/group":  "root:x:0:\naudio:x:29:\nvideo:x:44:\ncamera:x:901:\n",
		"/etc/passwd": "root:x:0:0::/:/bin/false\ncam:x:901:901::/:/bin/false\n",
	} {
		if got[file] != want {
			t.Errorf("%s = %q, want %q", file, got[file], want)
		}
	}
}
