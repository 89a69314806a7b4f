// SPDX-License-Identifier: MIT

package heapcfg

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelConfig(t *testing.T) {
	k, err := ParseKernelConfig([]byte("#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm64 6.1.192 Kernel Configuration\n#\nCONFIG_ARM64=y\nCONFIG_ARM64_64K_PAGES=y\n# CONFIG_THING is not set\nCONFIG_HUGETLB_PAGE=y\nCONFIG_CMA_AREAS=19\nCONFIG_LOCALVERSION=\"-x\"\nCONFIG_DMABUF_HEAPS=m\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := DefaultTarget()
	k.Apply(&got, false)
	want := Target{Kernel: Version{6, 1}, PageSize: 64 * KiB, Arch: Arm64, Patched: true, HugeTLB: true, CMAAreas: 19}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	stated := Target{Kernel: Version{7, 3}}
	if k.Apply(&stated, true); stated.Kernel != (Version{7, 3}) {
		t.Errorf("the stated kernel became %v", stated.Kernel)
	}
	findings := k.Check(".config", "heaps.config", []Need{{"THING", "y", "a"}, {"CMA_AREAS", "20", "b"}, {"CMA_AREAS", "8", "c"}, {"DMABUF_HEAPS", "y", "d"}, {"ARM64", "y", "e"}})
	var said []string
	for _, f := range findings {
		said = append(said, f.Level.String()+" "+f.Place.Path+" "+f.ID)
	}
	if diff := cmp.Diff([]string{"error CONFIG_THING kconfig-missing", "error CONFIG_CMA_AREAS kconfig-missing", "warning CONFIG_DMABUF_HEAPS kconfig-missing"}, said); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for config, want := range map[string]uint64{
		"# Linux/arm 5.15.1 Kernel Configuration\nCONFIG_ARM=y\nCONFIG_FORCE_MAX_ZONEORDER=14\n":                                    32 * MiB,
		"# Linux/arm 6.1.1 Kernel Configuration\nCONFIG_ARM=y\nCONFIG_ARCH_FORCE_MAX_ORDER=12\n":                                    8 * MiB,
		"# Linux/arm 6.6.1 Kernel Configuration\nCONFIG_ARM=y\nCONFIG_ARCH_FORCE_MAX_ORDER=11\n":                                    8 * MiB,
		"# Linux/arm64 7.3.1 Kernel Configuration\nCONFIG_ARM64=y\nCONFIG_ARCH_FORCE_MAX_ORDER=10\nCONFIG_PAGE_BLOCK_MAX_ORDER=7\n": 512 * KiB,
	} {
		k, err := ParseKernelConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		target := DefaultTarget()
		if k.Apply(&target, false); target.CMAAlign() != want {
			t.Errorf("%q makes the CMA alignment %s, want %s", config, FormatSize(target.CMAAlign()), FormatSize(want))
		}
	}
	for config, want := range map[string]int{"CONFIG_VMSPLIT_3G=y\n": 1, "CONFIG_VMSPLIT_3G=y\nCONFIG_HIGHMEM=y\n": 0, "CONFIG_VMSPLIT_2G=y\n": 0} {
		k, _ := ParseKernelConfig([]byte(config))
		if findings := k.Check(".config", "heaps.config", []Need{{"HIGHMEM", "y", "a"}}); len(findings) != want {
			t.Errorf("%q gives %v, want %d findings", config, findings, want)
		}
	}
	if _, err := ParseKernelConfig([]byte("hello\n")); !errors.Is(err, ErrKernelConfig) {
		t.Errorf("text gives %v, want ErrKernelConfig", err)
	}
}
