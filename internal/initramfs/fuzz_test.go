// SPDX-License-Identifier: MIT

package initramfs

import "testing"

// FuzzFiles reads the two files that the init of an initramfs reads: its plan
// and udev rules.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"rules":"/a","run":[["/bin/heapctl","check"]],"keep_going":true}`))
	f.Add([]byte("SUBSYSTEM==\"dma_heap\", KERNEL==\"linux,cma@5*\", MODE=\"0660\", GROUP=\"video\", SYMLINK+=\"dma_heap/a dma_heap/b\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plan, err := ParsePlan(data); err == nil {
			again, err := plan.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParsePlan(again); err != nil {
				t.Errorf("a plan that was accepted is refused when written: %v\n%s", err, again)
			}
		}
		rules, err := ParseRules(data)
		if err != nil && rules != nil {
			t.Error("ParseRules gives both a result and an error")
		}
		for _, r := range rules {
			if r.Subsystem == "" || r.Kernel == "" || r.Mode&^0o777 != 0 {
				t.Errorf("rule %+v", r)
			}
		}
		_, _ = Accounts(data)
	})
}
