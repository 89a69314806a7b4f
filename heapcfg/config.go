// SPDX-License-Identifier: MIT

package heapcfg

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Config is a heaps.yaml as it was written, before it meets a board.
type Config struct {
	File     string
	Variant  string   // the variant that was asked for, or empty
	Variants []string // all that the file has
	Board    []string // compatible strings the base tree must have one of
	RAM      []Range  // what the boot loader fills in; empty: as in the base tree
	Target   Target
	// StatedKernel says that the file names the target kernel itself.
	StatedKernel bool
	KeepClear    []Occupant
	Disable      []DeviceConfig // nodes of /reserved-memory to switch off
	Heaps        []HeapConfig
	Source       Source
}

// A HeapConfig is one item of the list "heaps".
type HeapConfig struct {
	Name      string
	Kind      Kind
	Size      uint64 // bytes, or 0 where Share is set
	Share     int    // percent of RAM, 0 where Size is set
	Base      Addr
	HasBase   bool
	Align     uint64 // 0: what the kind needs
	Within    []Range
	Below     Addr // 0: below 4 GiB where the board has RAM there
	After     string
	Access    Access
	ChunkSize uint64
	Default   bool
	Mode      Mode
	Owner     string
	Group     string
	Devices   []DeviceConfig
	Source    Source
}

// A DeviceConfig is a device that uses the heap's region.
type DeviceConfig struct {
	Node   string // "&label", "/path" or an alias
	Name   string // memory-region-names entry
	Source Source
}

// The keys of the language, level by level. The JSON schema is held against
// these tables by a test.
var (
	rootKeys      = []string{"version", "board", "target", "keep-clear", "disable", "heaps", "variants"}
	boardKeys     = []string{"compatible", "ram"}
	targetKeys    = []string{"kernel", "arch", "page-size", "patched", "kconfig"}
	kconfigKeys   = []string{"HUGETLB_PAGE", "TRANSPARENT_HUGEPAGE", "CMA_AREAS", "ARCH_FORCE_MAX_ORDER", "EFI"}
	keepClearKeys = []string{"what", "name", "base", "size"}
	heapKeys      = []string{"name", "kind", "size", "base", "place", "access", "chunk-size", "default", "mode", "owner", "group", "devices"}
	placeKeys     = []string{"align", "within", "below", "after"}
	rangeKeys     = []string{"base", "size"}
	deviceKeys    = []string{"node", "name"}
	variantKeys   = []string{"board", "target", "keep-clear", "disable", "omit", "heaps"}
)

// Keys returns every key of the language, level by level, for documents that
// must name them all.
func Keys() []string {
	return slices.Concat(rootKeys, boardKeys, targetKeys, kconfigKeys, keepClearKeys, heapKeys, placeKeys, rangeKeys, deviceKeys, variantKeys)
}

// Parse reads a heaps.yaml. The name is used in findings only. The Config is
// nil when there is nothing to go on with; findings of level Error mean that
// the Config must not be compiled, though it can still be drawn.
func Parse(name string, data []byte) (*Config, []Finding) {
	return ParseVariant(name, data, "")
}

// ParseVariant reads a heaps.yaml with the values that one of its variants
// overrides. All other variants are read too, so that a mistake in one is
// found whichever is built.
func ParseVariant(name string, data []byte, variant string) (*Config, []Finding) {
	r := &reader{file: name}
	root := r.document(data)
	variants := r.variants(root)
	merged := root
	if variant != "" && root != nil {
		v, ok := variants.get(variant)
		if !ok {
			fix := "the file has no variants"
			if len(variants.order) > 0 {
				fix = "the file has " + strings.Join(variants.order, ", ")
			}
			at := &yaml.Node{Line: root.Line, Column: root.Column}
			r.errorf(at, "$.variants", "variant-unknown", fix, "the file has no variant %q", variant)
		}
		merged = r.override(root, v)
	}
	cfg := r.config(merged)
	seen := make(map[Finding]bool, len(r.findings))
	for _, f := range r.findings {
		seen[f] = true
	}
	for _, other := range variants.order {
		v, _ := variants.get(other)
		o := &reader{file: name}
		if other != variant {
			o.config(o.override(root, v))
		}
		for _, f := range o.findings {
			if !seen[f] {
				seen[f] = true
				r.add(f)
			}
		}
	}
	if cfg != nil {
		cfg.Variant, cfg.Variants = variant, variants.order
	}
	SortFindings(r.findings)
	return cfg, r.findings
}

func (r *reader) config(root *yaml.Node) *Config {
	if root == nil || !r.version(root) {
		return nil
	}
	o, ok := r.object(root, "$", rootKeys...)
	if !ok {
		return nil
	}
	cfg := &Config{File: r.file, Target: DefaultTarget(), Source: Source{o.r.place(root, "$"), o.places()}}
	if n := o.vals["board"]; n != nil {
		if b, ok := r.object(n, "$.board", boardKeys...); ok {
			cfg.Board = b.strings("compatible")
			if n := b.vals["ram"]; n != nil {
				cfg.RAM = r.ranges(n, "$.board.ram")
			}
		}
	}
	if n := o.vals["target"]; n != nil {
		r.target(n, cfg)
	}
	if n := o.vals["keep-clear"]; n != nil {
		r.list(n, "$.keep-clear", func(n *yaml.Node, path string) {
			if c, ok := r.keepClear(n, path); ok {
				cfg.KeepClear = append(cfg.KeepClear, c)
			}
		})
	}
	if n := o.vals["disable"]; n != nil {
		r.list(n, "$.disable", func(n *yaml.Node, path string) {
			if n.Kind != yaml.ScalarNode || n.Value == "" {
				r.errorf(n, path, "yaml-type", "write the node's name as the base tree has it", "an item of disable must be the name of a node, not %s", kindWord(n))
				return
			}
			cfg.Disable = append(cfg.Disable, DeviceConfig{Node: n.Value, Source: Source{Place: r.place(n, path)}})
		})
	}
	if o.require("heaps", "a list \"heaps:\" with at least one heap") {
		r.list(o.vals["heaps"], "$.heaps", func(n *yaml.Node, path string) {
			if h, ok := r.heap(n, path); ok {
				cfg.Heaps = append(cfg.Heaps, h)
			}
		})
		if n := len(cfg.Heaps); n > maxHeaps {
			r.errorf(o.keys["heaps"], "$.heaps", "yaml-value", "check that it is the right file", "the file has %d heaps; a kernel has at most %d", n, maxHeaps)
			cfg.Heaps = cfg.Heaps[:maxHeaps]
		}
		if n := o.vals["heaps"]; n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			r.errorf(n, "$.heaps", "yaml-missing", "add a heap with name, kind and size", "the list of heaps is empty")
		}
	}
	return cfg
}

// version reads the version first and alone: of a file in another version of
// the language nothing else can be said.
func (r *reader) version(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		r.errorf(root, "$", "yaml-type", "start with \"version: 1\" and a list \"heaps:\"", "the file must be a mapping, not %s", kindWord(root))
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Value != "version" {
			continue
		}
		if v.Kind != yaml.ScalarNode || v.Value != "1" {
			r.errorf(v, "$.version", "yaml-version", "write \"version: 1\", or use a newer heapctl", "version %s of the language is not known, only 1 is", kindWord(v))
			return false
		}
		return true
	}
	r.errorf(root, "$", "yaml-version", "add \"version: 1\" as the first line", "the file does not say which version of the language it is in")
	return false
}

// strings reads one text or a list of them.
func (o *object) strings(key string) []string {
	n := o.vals[key]
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		var out []string
		o.r.list(n, o.path+"."+key, func(item *yaml.Node, path string) {
			if item.Kind != yaml.ScalarNode || item.Value == "" {
				o.r.errorf(item, path, "yaml-type", "", "an item of %s must be text, not %s", key, kindWord(item))
				return
			}
			out = append(out, item.Value)
		})
		return out
	}
	if s := o.str(key); s != "" {
		return []string{s}
	}
	return nil
}

func (r *reader) target(n *yaml.Node, cfg *Config) {
	o, ok := r.object(n, "$.target", targetKeys...)
	if !ok {
		return
	}
	if s := o.str("kernel"); s != "" {
		v, err := ParseVersion(s)
		if err != nil {
			o.fail("kernel", "write major and minor number, in quotes: \"6.12\"", "%v", err)
		} else {
			cfg.Target.Kernel, cfg.StatedKernel = v, true
		}
	}
	cfg.Target.Arch = Arch(o.word("arch", string(Arm), string(Arm64), string(Riscv)))
	if size, ok := o.size("page-size"); ok {
		switch size {
		case 4 * KiB, 16 * KiB, 64 * KiB:
			cfg.Target.PageSize = size
		default:
			o.fail("page-size", "write 4KiB, 16KiB or 64KiB", "no kernel has pages of %s", FormatSize(size))
		}
	}
	if o.has("patched") {
		cfg.Target.Patched = o.bool("patched")
	}
	if n := o.vals["kconfig"]; n != nil {
		if k, ok := r.object(n, "$.target.kconfig", kconfigKeys...); ok {
			cfg.Target.HugeTLB = k.kconfigBool("HUGETLB_PAGE")
			cfg.Target.THP = k.kconfigBool("TRANSPARENT_HUGEPAGE")
			cfg.Target.EFI = k.kconfigBool("EFI")
			if k.has("CMA_AREAS") {
				cfg.Target.CMAAreas = k.int("CMA_AREAS", 1, 1024)
			}
			if k.has("ARCH_FORCE_MAX_ORDER") {
				cfg.Target.ForceMaxOrder = k.int("ARCH_FORCE_MAX_ORDER", 7, 16)
			}
		}
	}
}

// kconfigBool takes y and n as a .config has them, beside true and false.
func (o *object) kconfigBool(key string) bool {
	if !o.has(key) {
		return false
	}
	switch s, _, _ := o.scalar(key, "y or n"); s {
	case "y", "true":
		return true
	case "n", "false":
	default:
		o.fail(key, "write y or n", "%s: %q is neither y nor n", key, s)
	}
	return false
}

func (r *reader) keepClear(n *yaml.Node, path string) (Occupant, bool) {
	o, ok := r.object(n, path, keepClearKeys...)
	if !ok {
		return Occupant{}, false
	}
	c := Occupant{Source: Source{r.place(n, path), o.places()}}
	if o.require("what", "what: kernel") {
		c.What = What(o.word("what", string(Kernel), string(Initrd), string(FDT), string(Firmware), string(BootLoader)))
	}
	c.Name = o.str("name")
	c.Range, ok = o.rng()
	return c, ok && c.What != ""
}

func (r *reader) heap(n *yaml.Node, path string) (HeapConfig, bool) {
	o, ok := r.object(n, path, heapKeys...)
	if !ok {
		return HeapConfig{}, false
	}
	h := HeapConfig{Access: Cached, Source: Source{r.place(n, path), o.places()}}
	if o.require("name", "name: video") {
		h.Name = o.str("name")
		if fix, err := nodeName(h.Name); h.Name != "" && err != nil {
			o.fail("name", fix, "%v", err)
			h.Name = ""
		}
	}
	if o.require("kind", "kind: cma, carveout or chunk") {
		h.Kind = Kind(o.word("kind", string(CMA), string(Carveout), string(Chunk), string(System)))
	}
	if h.Kind == System {
		r.systemHeap(o, &h)
	} else if o.require("size", "size: 64MiB") {
		h.Size, h.Share = o.sizeOrShare("size")
	}
	h.Base, h.HasBase = o.addr("base")
	if p := o.vals["place"]; p != nil {
		r.placement(p, path+".place", &h)
	}
	if o.has("base") && o.has("place") {
		o.fail("place", "keep one of them", "a heap with a base is not placed by constraints")
	}
	if n := o.vals["access"]; n != nil && n.Value == "uncached" {
		o.fail("access", fmt.Sprintf("write access: %s, which is what the CPU does instead of caching", WriteCombine), "access cannot be \"uncached\"")
	} else if s := o.word("access", string(Cached), string(WriteCombine), string(DeviceOnly)); s != "" {
		h.Access = Access(s)
		if h.Kind == CMA && h.Access != Cached {
			o.fail("access", "use kind: carveout, or drop access", "a CMA heap is always cached: its pages are lent to the rest of the system")
		}
	}
	if o.has("chunk-size") {
		h.ChunkSize, _ = o.size("chunk-size")
		if h.ChunkSize >= 4*GiB {
			o.fail("chunk-size", "write a size such as 64KiB", "a chunk of %s does not fit into the one cell of the chunk-size property", FormatSize(h.ChunkSize))
			h.ChunkSize = 0
		}
		if h.Kind != Chunk && h.Kind != "" {
			o.fail("chunk-size", "use kind: chunk, or drop chunk-size", "only a chunk heap has a chunk-size")
		}
	} else if h.Kind == Chunk {
		o.require("chunk-size", "chunk-size: 64KiB")
	}
	if o.has("default") {
		h.Default = o.bool("default")
		if h.Default && h.Kind != CMA && h.Kind != "" {
			o.fail("default", "use kind: cma, or drop default", "only a CMA heap can be the default: it serves every driver without a region of its own")
		}
	}
	r.access(o, &h)
	if d := o.vals["devices"]; d != nil {
		r.list(d, path+".devices", func(n *yaml.Node, path string) {
			if d, ok := r.device(n, path); ok {
				h.Devices = append(h.Devices, d)
			}
		})
	}
	return h, h.Name != "" && h.Kind != ""
}

// systemHeap refuses what has no meaning for pages of the buddy allocator.
func (r *reader) systemHeap(o *object, h *HeapConfig) {
	if h.Name != "" && h.Name != "system" {
		o.fail("name", "write name: system", "the kernel calls the system heap \"system\"")
	}
	for _, key := range []string{"size", "base", "place", "devices", "access"} {
		if o.has(key) {
			o.fail(key, "drop "+key, "the system heap takes pages from all of RAM and has no %s", key)
		}
	}
}

// sizeOrShare reads bytes or a percentage of RAM.
func (o *object) sizeOrShare(key string) (size uint64, percent int) {
	s, _, ok := o.scalar(key, "a size such as 64MiB")
	if !ok {
		return 0, 0
	}
	if digits, share := strings.CutSuffix(s, "%"); share {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 90 {
			o.fail(key, "write 1% to 90%", "%q is not a share of RAM", s)
			return 0, 0
		}
		return 0, n
	}
	size, ok = o.size(key)
	if ok && size == 0 {
		o.fail(key, "give it a size, or remove the heap", "size is zero")
	}
	return size, 0
}

func (r *reader) placement(n *yaml.Node, path string, h *HeapConfig) {
	o, ok := r.object(n, path, placeKeys...)
	if !ok {
		return
	}
	if a, ok := o.size("align"); ok {
		if !isPow2(a) {
			o.fail("align", "write a power of two such as 2MiB", "an alignment of %s is no power of two", FormatSize(a))
		} else {
			h.Align = a
		}
	}
	if n := o.vals["within"]; n != nil {
		h.Within = r.ranges(n, path+".within")
	}
	if b, ok := o.addr("below"); ok {
		if b == 0 {
			o.fail("below", "write the first address the device cannot reach, such as 4GiB for a 32-bit DMA mask", "nothing lies below address 0")
		}
		h.Below = b
	}
	h.After = o.str("after")
	for key, p := range o.places() {
		h.Source.Fields["place."+key] = p
	}
}

// ranges reads one range or a list of them.
func (r *reader) ranges(n *yaml.Node, path string) []Range {
	var out []Range
	one := func(n *yaml.Node, path string) {
		if w, ok := r.object(n, path, rangeKeys...); ok {
			if rng, ok := w.rng(); ok {
				out = append(out, rng)
			}
		}
	}
	switch {
	case n.Kind == yaml.SequenceNode:
		r.list(n, path, one)
	case n.Kind == yaml.ScalarNode && r.plain(n, path):
		r.errorf(n, path, "yaml-type", "write {base: 0x4000_0000, size: 512MiB}, or a list of such", "%s must be a range, not %q", leaf(path), n.Value)
	case n.Kind != yaml.ScalarNode:
		one(n, path)
	}
	return out
}

// access reads who may open the heap.
func (r *reader) access(o *object, h *HeapConfig) {
	if s, n, ok := o.scalar("mode", "a mode such as \"0660\""); ok {
		m, err := strconv.ParseUint(s, 8, 12)
		switch {
		case err != nil || len(s) < 3 || m > 0o777:
			o.fail("mode", "write four octal digits, such as \"0660\"", "%q is not a mode of a device node", s)
		case n.Tag == "!!int" && s[0] != '0' && n.Style == 0:
			o.fail("mode", fmt.Sprintf("write \"0%s\"", s), "%s reads as a decimal number; a mode starts with 0", s)
		case m == 0:
			o.fail("mode", "write \"0600\" for root alone", "mode 0000 lets nobody in but root, who needs no mode")
		default:
			h.Mode = Mode(m)
			if m&0o006 != 0 {
				r.errorf(n, o.path+".mode", "mode-world", "write \"0660\" and name the group that needs the heap", "everybody on the board may open heap %s: memory taken there is pinned and counted to nobody", h.Name)
			}
			if m&0o444 == 0 || m&0o111 != 0 {
				r.errorf(n, o.path+".mode", "mode-odd", "write \"0660\" or \"0640\"", "mode %s is an unlikely one for a device node", h.Mode)
			}
		}
	}
	h.Owner, h.Group = o.account("owner"), o.account("group")
}

// account returns the name of a user or group.
func (o *object) account(key string) string {
	s := o.str(key)
	if s != "" && !plainName(s) {
		o.fail(key, "write a name of the target's /etc/passwd or /etc/group", "%q is no name of a user or group", s)
		return ""
	}
	return s
}

func (r *reader) device(n *yaml.Node, path string) (DeviceConfig, bool) {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		return DeviceConfig{Node: n.Value, Source: Source{Place: r.place(n, path)}}, true
	}
	o, ok := r.object(n, path, deviceKeys...)
	if !ok || !o.require("node", "node: \"&label\", a path or an alias") {
		return DeviceConfig{}, false
	}
	d := DeviceConfig{Node: o.str("node"), Name: o.str("name"), Source: Source{r.place(n, path), o.places()}}
	return d, d.Node != ""
}

// plainName reports whether s can stand in a udev rule and an mdev line
// without quoting: what useradd accepts.
func plainName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// nodeName checks a heap's short name against what a node name may hold:
// 1 to 31 characters of [0-9a-zA-Z,._+-], starting with a letter (Devicetree
// Specification 2.2.1). The unit address is added by the compiler.
func nodeName(s string) (fix string, err error) {
	if strings.Contains(s, "@") {
		return "write the name without it", fmt.Errorf("%q carries a unit address; the compiler adds it", s)
	}
	if s == "" || len(s) > 31 {
		return "shorten it", fmt.Errorf("%q has %d characters; a node name has 1 to 31", s, len(s))
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9') && !strings.ContainsRune(",._+-", rune(c))) {
			return "use letters, digits and , . _ + - only, a letter first", fmt.Errorf("%q is not a node name", s)
		}
	}
	return "", nil
}
