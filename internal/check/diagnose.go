// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"strings"

	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// whyMissing finds the reason a heap is not there. The causes are tried from
// what the kernel itself said to what can only be concluded; the first that
// holds is the answer.
func (r *run) whyMissing(e heapcfg.Expected) *outcome {
	for _, cause := range []func(*run, heapcfg.Expected) (*outcome, bool){
		(*run).noDeviceNode,
		(*run).notInTree,
		(*run).cmaOnCommandLine,
		(*run).noDefaultCMA,
		(*run).saidInLog,
		(*run).otherName,
		(*run).driverMissing,
		(*run).onlyDefaultCMA,
		(*run).againstTheRules,
	} {
		if o, ok := cause(r, e); ok {
			return o
		}
	}
	o := fail("the heap is missing, and nothing readable says why")
	if _, err := r.board.Log(); err != nil {
		o.message += ": the kernel log would (" + sysinfo.Reason(err) + ")"
		return o.advise("run heapctl as root soon after boot, or look for the region's name in the boot log: dmesg | grep -e %s -e 'reserved mem' -e cma", e.Name)
	}
	return o.advise("boot with memblock=debug on the kernel command line and look for the region's address in dmesg")
}

// noDeviceNode: the kernel has the heap, only its node is not there.
func (r *run) noDeviceNode(e heapcfg.Expected) (*outcome, bool) {
	names, err := r.board.Registered()
	if err != nil {
		return nil, false
	}
	for _, n := range names {
		if n != e.Name {
			continue
		}
		if c := r.board.Container(); c != "" {
			return fail("the %s container was not given this heap of its host", c).
				because("", "the kernel has it", "/sys/class/dma_heap/"+e.Name).
				advise("%s", containerAdvice(c, []string{e.Name})), true
		}
		return fail("the kernel has the heap, but its device node is gone").
			because("", "the kernel has it", "/sys/class/dma_heap/"+e.Name).
			advise("mount devtmpfs on /dev, or start udev or mdev; look for a rule that removes or renames the node"), true
	}
	return nil, false
}

// notInTree: the region is not in the tree that the kernel was booted with.
func (r *run) notInTree(e heapcfg.Expected) (*outcome, bool) {
	node := e.Name
	if e.SharedWith != "" {
		node = e.SharedWith
	}
	if e.Kind == heapcfg.System || r.layout == nil || node == heapcfg.DefaultCMAName || node == "reserved" {
		return nil, false
	}
	evidence := sysinfo.TreePath + "/reserved-memory"
	reg := r.liveRegion(node)
	switch {
	case reg == nil:
		o := fail("its region is not in the device tree the kernel was booted with: the overlay was not applied, or not this version of it")
		for i := range r.layout.Regions {
			if x := &r.layout.Regions[i]; !e.Dynamic && x.Range == e.Range && x.Range.Size > 0 {
				o = fail("its region is in the device tree under another name, %s", x.Node)
			}
		}
		return o.because("the node "+node, r.liveRegions(), evidence).advise("%s", overlayAdvice), true
	case !reg.Active():
		return fail("its region is disabled in the live device tree").
			because("status = \"okay\"", "disabled", evidence+"/"+node+"/status").
			advise("remove the status property of %s, or set it to \"okay\"", node), true
	}
	for _, d := range r.layout.Defects {
		if d.Rule != "reserved-format" && d.Rule != "reserved-name" {
			continue // of devices and of RAM, which costs no region
		}
		return fail("the kernel ignores all of /reserved-memory: %s", d.Fact).
			because("", "", evidence).advise("%s", ruleFix(d.Rule)), true
	}
	return nil, false
}

// cmaOnCommandLine: cma= takes the place of the default region of the tree.
func (r *run) cmaOnCommandLine(e heapcfg.Expected) (*outcome, bool) {
	val, ok := r.board.Param("cma")
	if !ok || e.Kind != heapcfg.CMA {
		return nil, false
	}
	node := e.Name
	if e.SharedWith != "" {
		node = e.SharedWith
	}
	reg := r.liveRegion(node)
	if reg == nil || !reg.Default {
		return nil, false
	}
	if e.Name == heapcfg.DefaultCMAName && val != "0" {
		return nil, false // cma= would have brought this one
	}
	return fail("cma=%s on the kernel command line makes the kernel skip the default CMA region of the device tree", val).
		because("", r.listing(), "/proc/cmdline").
		advise("remove cma=%s from the kernel command line (bootargs in the boot loader, chosen/bootargs, or CONFIG_CMDLINE)", val), true
}

// A logPattern is a message of the kernel that explains a missing heap. The
// texts differ between kernels in their prefixes, so parts are looked for.
type logPattern struct {
	part   string // what the line contains
	named  bool   // the line must name the node as well
	kind   heapcfg.Kind
	cause  string
	advice string
}

// failedToReserve is the one message whose cause the device tree knows better.
const failedToReserve = "failed to reserve memory for node"

// logPatterns are tried in order. Each was seen on a booted kernel of the
// lines 5.10, 6.1, 6.12 or 7.3.
var logPatterns = [...]logPattern{
	{"Reserved memory: unsupported node format, ignoring", false, "", "the kernel ignores all of /reserved-memory: its #address-cells, #size-cells or ranges do not agree with the root node",
		"give /reserved-memory the #address-cells and #size-cells of the root node, and an empty ranges property"},
	{"invalid reg property in", true, "", "the kernel skipped the region: its reg has the wrong number of cells",
		"write reg with the #address-cells and #size-cells of /reserved-memory"},
	{failedToReserve, true, "", "the kernel could not reserve the region: something else, such as the kernel image or the initrd, is already there",
		"move the region: leave its address out of heaps.yaml, and state where the boot loader puts kernel and initrd"},
	{"failed to allocate memory for node", true, "", "the kernel found no room for the region within its alloc-ranges",
		"make the region smaller, or widen or remove its alloc-ranges"},
	{"invalid size property in", true, "", "the kernel skipped the region: its size has the wrong number of cells", "write size with the #size-cells of the root node"},
	{"invalid alignment property in", true, "", "the kernel skipped the region: its alignment has the wrong number of cells", "write alignment with the #address-cells of the root node"},
	{"invalid alloc-ranges property in", true, "", "the kernel skipped the region: its alloc-ranges has the wrong length", "write alloc-ranges as address and size, with the cells of the root node"},
	{"bypass", true, heapcfg.CMA, "cma= on the kernel command line makes the kernel skip the region", "remove cma= from the kernel command line"},
	{"Skipping dt linux,cma-default node", false, heapcfg.CMA, "cma= on the kernel command line makes the kernel skip the default region", "remove cma= from the kernel command line"},
	{"incorrect alignment of CMA region", false, heapcfg.CMA, "the kernel rejected the region: its base or size is not aligned as CMA needs it",
		"align base and size of the region to %s"},
	{"Not enough slots for CMA reserved regions", false, heapcfg.CMA, "the kernel has no room for another CMA area", "raise CONFIG_CMA_AREAS"},
	{"Failed to add CMA heap", true, heapcfg.CMA, "the name of the region clashes with another heap", "rename the node in /reserved-memory"},
	{"no heap:", true, "", "", ""},
	{"rejected", true, "", "", ""},
	{"compatible matching fail", true, "", "the driver for the region's compatible rejected it", "correct the properties of the region: heapctl lint names what is wrong with it"},
}

// saidInLog: the kernel told the reason at boot.
func (r *run) saidInLog(e heapcfg.Expected) (*outcome, bool) {
	lines, _ := r.board.Log()
	node := e.Name
	if e.SharedWith != "" {
		node = e.SharedWith
	}
	for _, p := range logPatterns {
		if p.kind != "" && p.kind != e.Kind {
			continue
		}
		for _, line := range lines {
			if !strings.Contains(line, p.part) || p.named && !strings.Contains(line, node) {
				continue
			}
			if p.part == "incorrect alignment of CMA region" && r.aligned(e) {
				continue // it was said of another region
			}
			o := fail("%s", p.cause)
			advice := p.advice
			if p.part == failedToReserve {
				if what := r.inTheWay(node); what != "" {
					o = fail("the kernel could not reserve the region: %s is already there", what)
				}
			}
			if p.cause == "" {
				o, advice = driverSaid(line, node, p.part)
			}
			if strings.Contains(advice, "%s") {
				advice = fmt.Sprintf(advice, heapcfg.FormatSize(r.board.Target().CMAAlign()))
			}
			return o.because("", fmt.Sprintf("%q", line), "dmesg").advise("%s", advice), true
		}
	}
	return nil, false
}

// inTheWay names what the boot loader put where the region was to be: it says
// in the device tree where the initrd and its own reservations are.
func (r *run) inTheWay(node string) string {
	reg := r.liveRegion(node)
	if reg == nil {
		return ""
	}
	for _, o := range r.layout.Occupied {
		if !o.Assumed && o.Range.Overlaps(reg.Range) {
			return fmt.Sprintf("the %s (%v)", o.Title(), o.Range)
		}
	}
	return ""
}

// noDefaultCMA: nothing makes the area that the default heap is of. Some
// distributions build their kernels so, and the heap is gone with an upgrade.
func (r *run) noDefaultCMA(e heapcfg.Expected) (*outcome, bool) {
	if e.Kind != heapcfg.CMA || e.Name != heapcfg.DefaultCMAName && e.Name != "reserved" {
		return nil, false
	}
	why, evidence, ok := r.cmaOff()
	if !ok {
		return nil, false
	}
	return fail("%s", why).because("a default CMA area", "none", evidence).advise("%s", cmaOffAdvice), true
}

const cmaOffAdvice = "state a default CMA heap in heaps.yaml, or build the kernel with CONFIG_CMA_SIZE_MBYTES of more than 0; cma=64M on the command line serves until then"

// cmaOff tells why the kernel has no default CMA area, if it has none.
func (r *run) cmaOff() (why, evidence string, ok bool) {
	if val, ok := r.board.Param("cma"); ok {
		if val == "0" || strings.HasPrefix(val, "0@") {
			return "cma=" + val + " on the kernel command line leaves the kernel without a default CMA area", "/proc/cmdline", true
		}
		return "", "", false
	}
	if r.layout != nil && r.layout.DefaultCMA() != nil {
		return "", "", false
	}
	cfg, err := r.board.Config()
	if err != nil || cfg.Value("DMA_CMA") != "y" || cfg.Value("CMA_SIZE_SEL_PERCENTAGE") == "y" {
		return "", "", false
	}
	if n, ok := cfg.Int("CMA_SIZE_MBYTES"); !ok || n != 0 {
		return "", "", false
	}
	return "the kernel has no default CMA area: it was built with CONFIG_CMA_SIZE_MBYTES=0, and neither the device tree nor cma= brings one", cfg.Path, true
}

// driverSaid splits what the heap drivers of the project print: the region,
// "no heap", what is wrong, and after a semicolon what to do.
func driverSaid(line, node, part string) (*outcome, string) {
	_, reason, _ := strings.Cut(line, part)
	reason, advice, _ := strings.Cut(strings.TrimSpace(reason), "; ")
	if reason == "" {
		reason = line
	}
	if advice == "" {
		advice = "correct the node " + node + " in /reserved-memory"
	}
	return fail("the driver rejected the region: %s", reason), advice
}

// aligned reports whether the live region satisfies the CMA alignment, so that
// the kernel's message, which has no name, can only be about another one.
func (r *run) aligned(e heapcfg.Expected) bool {
	rng := e.Range
	if reg := r.liveRegion(e.Name); reg != nil {
		rng = reg.Range
	}
	align := r.board.Target().CMAAlign()
	return uint64(rng.Base)%align == 0 && rng.Size%align == 0
}

// otherName: the kernel gives the memory another name.
func (r *run) otherName(e heapcfg.Expected) (*outcome, bool) {
	if e.Kind != heapcfg.CMA || e.Range.Size == 0 {
		return nil, false
	}
	expected := map[string]bool{}
	for _, x := range r.lock.Heaps {
		expected[x.Name] = true
	}
	for _, n := range r.nodes {
		if n.Link != "" || expected[n.Name] || n.Name == "system" {
			continue
		}
		u := r.board.Usage(n.Name)
		if u.Base.Known() && u.Base.Value == uint64(e.Range.Base) && !e.Dynamic {
			return fail("this kernel calls the heap %s", n.Name).
				because("", fmt.Sprintf("%s with base %v", n.Name, e.Range.Base), u.Base.From).
				advise("compile with the kernel version that runs here, %s: heapctl compile --kernel %s", r.board.Release, r.board.Kernel), true
		}
	}
	return nil, false
}

// symbols are the Kconfig symbols whose driver makes a kind of heap.
var symbols = map[heapcfg.Kind]string{
	heapcfg.System:   "DMABUF_HEAPS_SYSTEM",
	heapcfg.CMA:      "DMABUF_HEAPS_CMA",
	heapcfg.Carveout: "DMABUF_HEAPS_CARVEOUT",
	heapcfg.Chunk:    "DMABUF_HEAPS_CHUNK",
}

// driverMissing: the kernel was built without the heap's driver, or the driver
// is a module that nobody loaded.
func (r *run) driverMissing(e heapcfg.Expected) (*outcome, bool) {
	sym := symbols[e.Kind]
	if e.Kind == heapcfg.CMA && !(heapcfg.Target{Kernel: r.board.Kernel}).HasCMAHeap() {
		sym = "DMABUF_HEAPS_CMA_REGIONS"
	}
	cfg, err := r.board.Config()
	if sym == "" {
		return nil, false
	}
	if err != nil {
		if r.kindSeen(e.Kind) {
			return nil, false
		}
		return fail("the kernel has no %s heap at all: probably CONFIG_%s is not set", e.Kind, sym).
			because("", "", "").
			advise("build the kernel with CONFIG_%s=y%s; CONFIG_IKCONFIG_PROC=y lets heapctl see what is missing", sym, patchHint(e.Kind)), true
	}
	switch cfg.Value(sym) {
	case "y":
		if e.Kind == heapcfg.CMA && cfg.Value("DMA_CMA") != "y" {
			return fail("the kernel was built without CONFIG_DMA_CMA").because("CONFIG_DMA_CMA=y", "not set", cfg.Path).
				advise("set CONFIG_CMA=y and CONFIG_DMA_CMA=y"), true
		}
		return nil, false
	case "m":
		mod := strings.TrimPrefix(strings.ToLower(sym), "dmabuf_heaps_") + "_heap"
		return fail("the heap's driver is a module that is not loaded").because("CONFIG_"+sym+"=y, or its module loaded", "CONFIG_"+sym+"=m", cfg.Path).
			advise("modprobe %s\nand, to have it at every boot: echo %s > /etc/modules-load.d/dma-heaps.conf", mod, mod), true
	}
	if cfg.Has(sym) {
		return fail("the kernel was built without the driver of %s heaps", e.Kind).because("CONFIG_"+sym+"=y", "CONFIG_"+sym+" is not set", cfg.Path).
			advise("build the kernel with the config fragment that heapctl compile wrote; it sets CONFIG_%s=y", sym), true
	}
	return fail("this kernel has no driver for %s heaps: its source does not know CONFIG_%s", e.Kind, sym).
		because("CONFIG_"+sym+"=y", "no such symbol", cfg.Path).
		advise("apply kernel-patches/ to the kernel source and set CONFIG_%s=y", sym), true
}

func patchHint(k heapcfg.Kind) string {
	if k == heapcfg.Carveout || k == heapcfg.Chunk {
		return " (kernel-patches/ brings it)"
	}
	return ""
}

// kindSeen reports whether some heap of the kind is there, so that its driver
// must be.
func (r *run) kindSeen(k heapcfg.Kind) bool {
	for _, e := range r.lock.Heaps {
		if e.Kind != k {
			continue
		}
		for _, n := range r.nodes {
			if n.Name == e.Name && n.Device {
				return true
			}
		}
	}
	return false
}

// onlyDefaultCMA: kernels before 6.19 make a heap of the default area only.
func (r *run) onlyDefaultCMA(e heapcfg.Expected) (*outcome, bool) {
	if e.Kind != heapcfg.CMA || r.board.Kernel.IsZero() || r.board.Target().PerRegionCMA() {
		return nil, false
	}
	if reg := r.liveRegion(e.Name); reg == nil || reg.Default {
		if e.Name != heapcfg.DefaultCMAName {
			return nil, false
		}
	}
	return fail("Linux %s makes a heap of the default CMA region only", r.board.Release).
		because("", "", "/proc/sys/kernel/osrelease").
		advise("apply kernel-patches/ to the kernel (one heap per region, as since 6.19), or make the region a carveout, or the default with linux,cma-default"), true
}

// againstTheRules: the compiler's own rules know why.
func (r *run) againstTheRules(e heapcfg.Expected) (*outcome, bool) {
	if r.layout == nil {
		return nil, false
	}
	for _, f := range heapcfg.Lint(r.layout) {
		if f.Level != heapcfg.Error || !strings.HasSuffix(f.Place.Path, "/"+e.Name) {
			continue
		}
		return fail("%s", f.Message).because("", "the rule "+f.ID+" is broken", f.Place.String()).advise("%s", f.Fix), true
	}
	return nil, false
}

func ruleFix(id string) string {
	if rule, ok := heapcfg.RuleByID(id); ok {
		return rule.Fix
	}
	return "see heapctl explain " + id
}
