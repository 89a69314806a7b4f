// SPDX-License-Identifier: MIT

package heapcfg

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// A KernelConfig is the configuration a kernel was built with: the values of
// its symbols, without the prefix CONFIG_.
type KernelConfig struct {
	symbols map[string]string
	kernel  Version
}

// ErrKernelConfig is returned for bytes that are no .config.
var ErrKernelConfig = errors.New("not the configuration of a kernel")

var configHead = regexp.MustCompile(`^# Linux/\S+ (\S+) Kernel Configuration`)

// ParseKernelConfig reads a .config, or what /proc/config.gz holds.
func ParseKernelConfig(data []byte) (*KernelConfig, error) {
	k := &KernelConfig{symbols: map[string]string{}}
	for _, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if m := configHead.FindStringSubmatch(text); m != nil {
			k.kernel, _ = ParseVersion(m[1])
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(text, "CONFIG_"), "=")
		if ok && strings.HasPrefix(text, "CONFIG_") {
			k.symbols[name] = strings.Trim(value, `"`)
		}
	}
	if len(k.symbols) == 0 {
		return nil, ErrKernelConfig
	}
	return k, nil
}

// Value returns the value of a symbol: "n" where it is not set.
func (k *KernelConfig) Value(name string) string {
	if v, ok := k.symbols[name]; ok {
		return v
	}
	return "n"
}

func (k *KernelConfig) on(name string) bool { return k.Value(name) == "y" }

// Apply puts the facts that the rules depend on into a target. The release is
// taken only where nobody stated one.
func (k *KernelConfig) Apply(t *Target, statedKernel bool) {
	if !statedKernel && !k.kernel.IsZero() {
		t.Kernel = k.kernel
	}
	t.Configure(k.Value)
	for size, names := range map[uint64][]string{
		4 * KiB:  {"ARM64_4K_PAGES", "PAGE_SIZE_4KB"},
		16 * KiB: {"ARM64_16K_PAGES", "PAGE_SIZE_16KB"},
		64 * KiB: {"ARM64_64K_PAGES", "PAGE_SIZE_64KB"},
	} {
		for _, name := range names {
			if k.on(name) {
				t.PageSize = size
			}
		}
	}
	for _, a := range []Arch{Arm, Arm64, Riscv} {
		if k.on(strings.ToUpper(string(a))) {
			t.Arch = a
		}
	}
}

// Configure takes the options that the rules depend on from a configuration,
// which gives "n" or nothing for what is not set.
func (t *Target) Configure(value func(symbol string) string) {
	number := func(symbol string) int {
		n, _ := strconv.Atoi(value(symbol))
		return n
	}
	t.HugeTLB, t.THP, t.EFI = value("HUGETLB_PAGE") == "y", value("TRANSPARENT_HUGEPAGE") == "y", value("EFI") == "y"
	t.CMAAreas = number("CMA_AREAS")
	t.ForceMaxOrder = max(number("ARCH_FORCE_MAX_ORDER"), number("FORCE_MAX_ZONEORDER"))
	// Newer kernels, 6.18 among them, may have smaller pageblocks than that.
	if n := number("PAGE_BLOCK_MAX_ORDER"); n > 0 {
		t.ForceMaxOrder = n
	}
}

// A Need is a symbol that the heaps of a layout need, and what for.
type Need struct{ Name, Value, Why string }

// Check returns the needs that the kernel does not meet.
func (k *KernelConfig) Check(file, fragment string, needs []Need) []Finding {
	var out []Finding
	for _, n := range needs {
		have := k.Value(n.Name)
		f := Finding{ID: "kconfig-missing", Level: Error, Place: Place{File: file, Path: "CONFIG_" + n.Name},
			Message: "CONFIG_" + n.Name + " is " + have + ", and it is needed: " + n.Why,
			Fix:     "merge " + fragment + " with scripts/kconfig/merge_config.sh, and build the kernel again"}
		want, err1 := strconv.Atoi(n.Value)
		got, err2 := strconv.Atoi(have)
		switch {
		case have == n.Value, err1 == nil && err2 == nil && got >= want:
			continue
		case n.Name == "HIGHMEM" && !k.on("VMSPLIT_3G"):
			continue // lowmem ends elsewhere, mostly behind all RAM
		case n.Value == "y" && have == "m":
			f.Level, f.Message = Warning, "CONFIG_"+n.Name+" is a module: without it loaded there is no heap"
			f.Fix = "build it in, or load it at boot"
		}
		out = append(out, f)
	}
	return out
}
