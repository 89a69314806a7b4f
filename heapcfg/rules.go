// SPDX-License-Identifier: MIT

package heapcfg

import (
	"slices"
	"strings"
	"sync"
)

// A Rule is one thing that must hold, and what happens where it does not. The
// table of rules is what the compiler, `heapctl explain` and docs/rules.md
// all speak from.
type Rule struct {
	ID string // stable: scripts and bug reports name it
	// Level is how bad a breach is at worst; a finding may be milder.
	Level Level
	Title string // what must hold, in one sentence
	// Kernels are the releases the rule is about, in words; empty where it
	// is not the kernel that minds.
	Kernels string
	// Why is what happens where the rule is broken.
	Why string
	// Says are the lines that kernels print then. A rule about kernels has
	// at least one, if only to say that there is none.
	Says []Say
	// Fix is the way out in general; a finding may carry a nearer one.
	Fix string
	// Source is the kernel document or source line behind the rule.
	Source string

	check func(*linter) // nil where reading or planning finds it
}

// A Say is what some kernels print where a rule is broken: one line of the
// log without its time, or nothing at all.
type Say struct {
	Kernels string
	Line    string // empty: these kernels say nothing
}

// wayOut is the rule's own fix as a finding says it: in the middle of a
// sentence.
func (r Rule) wayOut() string {
	fix := strings.TrimSuffix(r.Fix, ".")
	if len(fix) > 1 && fix[0] >= 'A' && fix[0] <= 'Z' && fix[1] >= 'a' && fix[1] <= 'z' {
		fix = string(fix[0]+'a'-'A') + fix[1:]
	}
	return fix
}

// silent is what rules use that no kernel has a message for.
func silent() []Say { return []Say{{Kernels: allKernels}} }

// always is a line that all kernels print.
func always(line string) []Say { return []Say{{allKernels, line}} }

const allKernels = "all"

// Rules returns the table, in the order in which it is documented.
func Rules() []Rule {
	return slices.Concat(languageRules(), planRules(), treeRules(), regionRules(), heapRules(), deviceRules())
}

// RuleByID returns the rule with an id.
func RuleByID(id string) (Rule, bool) {
	r, ok := ruleIndex()[id]
	return r, ok
}

// ruleIndex is made once: a hostile file has a finding in every line.
var ruleIndex = sync.OnceValue(func() map[string]Rule {
	index := map[string]Rule{}
	for _, r := range Rules() {
		index[r.ID] = r
	}
	return index
})

// ruleLevel returns the level the table gives an id. An unknown id is a
// mistake of ours; a test calls every id in the sources.
func ruleLevel(id string) Level {
	if r, ok := RuleByID(id); ok {
		return r.Level
	}
	panic("heapcfg: no rule " + id)
}

// Lint holds a Layout against every rule and returns the findings in the order
// of the file it came from.
func Lint(l *Layout) []Finding {
	lint := &linter{Layout: l}
	for _, r := range Rules() {
		if r.check != nil {
			lint.rule = r
			r.check(lint)
		}
	}
	SortFindings(lint.findings)
	return lint.findings
}

func languageRules() []Rule {
	return []Rule{
		{ID: "yaml-syntax", Level: Error, Title: "A heap config is one YAML document of at most 1 MiB of UTF-8 text.",
			Why: "Nothing can be read from the file.", Fix: "Correct the line; editors with yaml-language-server show the place as you type."},
		{ID: "yaml-version", Level: Error, Title: "A heap config says which version of the language it is in.",
			Why: "Of a file in another version nothing else can be said.", Fix: "Start the file with \"version: 1\"."},
		{ID: "yaml-key", Level: Error, Title: "Every key is one the language knows, and stands once.",
			Why: "A misspelt key would be dropped in silence, and with it what it asked for.", Fix: "Correct or remove the key."},
		{ID: "yaml-missing", Level: Error, Title: "Every heap has a name, a kind and a size.",
			Why: "The compiler does not guess how much memory a heap gets.", Fix: "Add the key that the message names."},
		{ID: "yaml-type", Level: Error, Title: "Values are plain text, numbers, lists and mappings.",
			Why: "Anchors, aliases, merge keys and tags hide what a line means from whoever reads a diff.", Fix: "Write the value out."},
		{ID: "yaml-value", Level: Error, Title: "Sizes, addresses, names and modes are exact.",
			Why: "64M is 64000000 to some tools and 67108864 to others, 010 is eight to some and ten to others.", Fix: "Write 64MiB, 0x4000_0000, \"0660\"."},
		{ID: "mode-world", Level: Warning, Title: "A heap is not open to everybody.",
			Why: "Heap memory is pinned and counted to no memory cgroup (7.3 can count that of the heap system, with dma_heap.mem_accounting=1): whoever may open the heap can take all of it.", Fix: "Give the heap a group and mode \"0660\"."},
		{ID: "mode-odd", Level: Warning, Title: "The mode of a heap lets its users read, and execute nothing.",
			Why: "A heap is opened O_RDONLY or O_RDWR; the execute bits mean nothing.", Fix: "Write \"0660\" or \"0640\"."},
	}
}

func planRules() []Rule {
	return []Rule{
		{ID: "board-mismatch", Level: Error, Title: "The device tree is of the board that the config is for.",
			Why: "Addresses that are free on one board are firmware on another.", Fix: "Give the tree of the right board, or correct board.compatible."},
		{ID: "disable-unknown", Level: Error, Title: "What the config disables exists in the base tree.",
			Why: "A misspelt name would leave the region in place.", Fix: "Use the node's full name, with its unit address."},
		{ID: "kernel-assumed", Level: Note, Title: "The config says where the boot loader puts the kernel.",
			Why: "A CMA region over the kernel image is accepted in silence since 6.12 and oopses at the first large allocation.", Fix: "List kernel, initrd and FDT under keep-clear, and on a board with U-Boot the end of RAM as boot-loader: it moves initrd and device tree there."},
		{ID: "keep-clear-outside", Level: Error, Title: "What the config keeps clear lies in RAM.",
			Why: "A heap lies nowhere but in RAM, so the line keeps nothing clear, and the heap may come to lie where the thing really is. Firmware may have memory of its own.", Fix: "Correct the address, or board.ram."},
		{ID: "device-unknown", Level: Error, Title: "The devices that use a heap exist in the base tree.",
			Why: "fdtoverlay and boot loaders say FDT_ERR_NOTFOUND and nothing else.", Fix: "Name the device by a label the tree has, by its path or by an alias."},
		{ID: "device-disabled", Level: Warning, Title: "The devices that use a heap are enabled.",
			Why: "No driver binds to a disabled device, and nobody uses the region.", Fix: "Enable the device in the board's tree."},
		{ID: "device-has-region", Level: Warning, Title: "A device does not lose a region it already has.",
			Why: "An overlay replaces the whole memory-region property.", Fix: "List every heap the device needs."},
		{ID: "kconfig-missing", Level: Error, Title: "The kernel has every option that the heaps need.",
			Why: "Without it the memory is reserved, or not even that, and no heap appears; kconfig itself drops an option whose dependency is off, without a word.", Fix: "Merge the config fragment with scripts/kconfig/merge_config.sh and build the kernel again.", Source: "drivers/dma-buf/heaps/Kconfig"},
		{ID: "device-names", Level: Error, Title: "Of the heaps of one device, all have a name or none.",
			Why: "Drivers find a region by its place in memory-region-names; with gaps in the list they would find the wrong one.", Fix: "Write {node: ..., name: ...} in every heap of the device."},
		{ID: "ram-differs", Level: Warning, Title: "The RAM that the config states is RAM in the tree too.",
			Why: "Heaps are placed by what the config says; on a board with less they lie outside RAM.", Fix: "Correct board.ram, or remove it where the tree is right."},
		{ID: "variant-unknown", Level: Error, Title: "A variant changes heaps that the file has.",
			Why: "A misspelt name would leave the heap as it is.", Fix: "Use the name of a heap of the file."},
		{ID: "place-after", Level: Error, Title: "A heap that comes after another names one that has a place.",
			Why: "There is no address to start from.", Fix: "Name another heap of the file, without going in a circle."},
		{ID: "no-room", Level: Error, Title: "There is free RAM for every heap.",
			Why: "The heap would not be there.", Fix: "Make it smaller, loosen its constraints, or free memory."},
	}
}
