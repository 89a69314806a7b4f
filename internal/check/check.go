// SPDX-License-Identifier: MIT

// Package check holds a booted board against what was meant: the heaps of a
// lock file, or of the live device tree.
//
// A full run takes all memory of every heap for a moment. Whoever else needs a
// heap meanwhile, a running camera or display, gets ENOMEM. A quick run takes
// a quarter of what is free, and at most 16 MiB at once.
package check

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
	"github.com/dmaheap/dmaheap/internal/sysinfo"
)

// The share of a heap's free memory that a quick run takes, its most, and what
// it takes of a heap whose size nothing tells.
const (
	quickShare   = 4
	quickMost    = 16 * heapcfg.MiB
	unknownShare = 256 * heapcfg.KiB
)

// defaultPatience is how long the kernel may leave a check without an answer
// before it counts as stuck: a broken region can make an allocation spin for
// ever.
const defaultPatience = 90 * time.Second

// grace is how long a check may go on after the run was interrupted. Most stop
// by themselves within it.
const grace = 2 * time.Second

// Options choose what is tested.
type Options struct {
	Full  bool     // take everything each heap has
	Heaps []string // only these, by node name or short name
	// Profiles are the programs whose search for a heap is followed.
	Profiles []string
	// Import has the devices of the board import a buffer of each heap.
	Import bool
	// Patience bounds how long the kernel may be silent; 0 takes 90 seconds.
	Patience time.Duration
	// Slow, where set, is told of a check that takes longer than a person
	// waits without asking.
	Slow func(id, heap string)
}

// slow is how long that is.
const slow = 700 * time.Millisecond

// A Run is one comparison of a board with a lock.
type run struct {
	ctx    context.Context
	board  *sysinfo.Board
	dev    Device
	meant  *heapcfg.Lock // as it was given
	lock   *heapcfg.Lock // with the heaps that are tested beside
	o      Options
	emit   func(report.Result)
	rep    *report.Report
	nodes  []sysinfo.Node
	layout *heapcfg.Layout // of the live tree; nil if it cannot be read
	// loose says that a check was left alone in the kernel: its descriptors
	// may go away at any time.
	loose bool
}

// A check is one row of the tables: what it needs decides when it is skipped.
type check struct {
	Def
	needs need
	fn    func(*target) *outcome
}

// need is what must hold for a check to make sense.
type need int

const (
	needNode  need = iota // the device node
	needOpen              // an open heap
	needMap               // memory that the CPU may see
	needWhole             // --full
)

// outcome is what a check found; the runner adds id, title and heap.
type outcome struct {
	status   report.Status
	message  string
	expected string
	found    string
	evidence string
	advice   string
	blocked  bool
	measured []report.Measurement
}

func pass(format string, args ...any) *outcome {
	return &outcome{status: report.Pass, message: fmt.Sprintf(format, args...)}
}

func fail(format string, args ...any) *outcome {
	return &outcome{status: report.Fail, message: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) *outcome {
	return &outcome{status: report.Warn, message: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) *outcome {
	return &outcome{status: report.Skip, message: fmt.Sprintf(format, args...)}
}

// blocked is a skip that more rights or resources would have made a test.
func blocked(format string, args ...any) *outcome {
	o := skip(format, args...)
	o.blocked = true
	return o
}

// because adds what was wanted, what was there and where it was read.
func (o *outcome) because(expected, found, evidence string) *outcome {
	o.expected, o.found, o.evidence = expected, found, evidence
	return o
}

func (o *outcome) advise(format string, args ...any) *outcome {
	o.advice = fmt.Sprintf(format, args...)
	return o
}

func (o *outcome) measure(name string, value float64, unit string) *outcome {
	o.measured = append(o.measured, report.Measurement{Name: name, Value: value, Unit: unit})
	return o
}

// ErrNoSuchHeap is returned when Options name a heap that is neither expected
// nor there.
var ErrNoSuchHeap = errors.New("no such heap")

// Run holds the board against the lock. emit gets each result as soon as it is
// there; the report gets all of them. head is filled with what the run is
// about before the first result.
func Run(ctx context.Context, board *sysinfo.Board, dev Device, lock *heapcfg.Lock, o Options,
	head func(*report.Report), emit func(report.Result)) (*report.Report, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	r := &run{ctx: ctx, board: board, dev: dev, meant: lock, lock: lock, o: o, emit: emit, rep: &report.Report{}}
	start := time.Now()
	nodes, nodesErr := board.Nodes()
	r.nodes = nodes
	if lock.Config == "" {
		r.takeWhatIsThere()
	}
	if err := r.known(); err != nil {
		return nil, err
	}
	if lock.Config != "" {
		r.takeWhatIsThere()
	}
	head(r.rep)
	r.layout, _ = board.Layout() // what needs it, says why it is missing
	if r.supported(nodesErr) {
		r.treeMatches()
		r.treeRules()
		r.heaps()
		r.unexpected()
	}
	r.profiles()
	r.rep.Interrupted = ctx.Err() != nil
	for _, s := range board.Sources() {
		src := report.Source{Name: s.Name, Path: s.Path}
		if s.Err != nil {
			src.Error = sysinfo.Reason(s.Err)
		}
		r.rep.Sources = append(r.rep.Sources, src)
	}
	r.rep.Finish(time.Since(start).Seconds())
	return r.rep, nil
}

// takeWhatIsThere adds heaps that nobody promised: all of them to those of the
// device tree where there is no lock, and those that --heap names. They are
// tested for what every heap must do.
func (r *run) takeWhatIsThere() {
	heaps, err := r.board.Heaps()
	if err != nil {
		return
	}
	lock := *r.lock
	lock.Heaps = append([]heapcfg.Expected(nil), lock.Heaps...)
	for _, h := range heaps {
		if expects(&lock, h.Name) || lock.Config != "" && !slices.Contains(r.o.Heaps, h.Name) {
			continue
		}
		lock.Heaps = append(lock.Heaps, heapcfg.Expected{Name: h.Name, Kind: h.Kind, Access: heapcfg.Cached, SharedWith: h.SharesWith})
	}
	r.lock = &lock
}

// known refuses --heap with a name that means nothing here: a run that tests
// nothing because of a typing error must not look like a good one. For a symlink
// that the lock does not know it takes the heap behind it.
func (r *run) known() error {
	r.o.Heaps = slices.Clone(r.o.Heaps)
	for i, want := range r.o.Heaps {
		if expects(r.lock, want) {
			continue
		}
		if r.entry(want) == nil {
			return fmt.Errorf("%w: %q is neither expected nor there; expected: %s", ErrNoSuchHeap, want, names(r.lock.Heaps))
		}
		if n, ok := r.resolve(want); ok {
			r.o.Heaps[i] = n.Name
		}
	}
	return nil
}

// entry returns what stands in /dev/dma_heap under a name, or nil.
func (r *run) entry(name string) *sysinfo.Node {
	for i := range r.nodes {
		if r.nodes[i].Name == name {
			return &r.nodes[i]
		}
	}
	return nil
}

// expects reports whether a lock has a heap with that name, or short name.
func expects(lock *heapcfg.Lock, name string) bool {
	for i := range lock.Heaps {
		if e := &lock.Heaps[i]; e.Name == name || e.Short == name && name != "" {
			return true
		}
	}
	return false
}

func names(heaps []heapcfg.Expected) string {
	var out []string
	for _, e := range heaps {
		out = append(out, e.Name)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// wanted reports whether --heap lets a heap through.
func (r *run) wanted(e heapcfg.Expected) bool {
	return len(r.o.Heaps) == 0 || slices.ContainsFunc(r.o.Heaps, func(s string) bool { return s == e.Name || s == e.Short && s != "" })
}

// put adds a result and shows it.
func (r *run) put(d Def, heap string, o *outcome, took time.Duration) {
	res := r.rep.Add(report.Result{
		ID: d.ID, Title: d.Title, Heap: heap, Status: o.status, Message: o.message,
		Expected: o.expected, Found: o.found, Evidence: o.evidence, Advice: o.advice,
		Blocked: o.blocked, Measurements: o.measured, Seconds: took.Seconds(),
	})
	r.emit(res)
}

// heaps checks every expected heap. One that is missing gives one failure with
// its cause; what hangs on it is skipped.
func (r *run) heaps() {
	for _, e := range r.lock.Heaps {
		if r.ctx.Err() != nil {
			return
		}
		if !r.wanted(e) {
			continue
		}
		start := time.Now()
		node, o := r.present(e)
		r.put(defPresent, label(e), o, time.Since(start))
		t := &target{run: r, exp: e, node: node}
		// The system heap has no region to have numbers of.
		if e.Name != string(heapcfg.System) && o.status != report.Fail {
			t.usage = r.board.Usage(e.Name, r.areas(e)...)
		}
		why := ""
		if o.status == report.Fail {
			why = "the heap is missing"
		}
		t.runAll(why)
	}
}

// label is how results name a heap: by its node name, which is unique.
func label(e heapcfg.Expected) string { return e.Name }

// areas returns the names the CMA area behind a heap may have beside the
// heap's own.
func (r *run) areas(e heapcfg.Expected) []string {
	if e.Kind != heapcfg.CMA {
		return nil
	}
	if e.SharedWith != "" {
		return []string{e.SharedWith}
	}
	if e.Name == heapcfg.DefaultCMAName {
		return []string{"reserved", "linux,cma"}
	}
	return nil
}

// target is one heap under test.
type target struct {
	*run
	exp   heapcfg.Expected
	node  sysinfo.Node
	usage sysinfo.Usage
	heap  Heap
	files int // descriptors before the heap was opened
	// starved says that not even the smallest buffer could be had.
	starved bool
	// gone says that nobody waits for the check any more.
	gone atomic.Bool
}

// runAll runs the checks of a heap. With why set all of them are skipped.
func (t *target) runAll(why string) {
	opened := false
	blockedBy := false
	for _, c := range heapChecks() {
		if t.ctx.Err() != nil {
			break
		}
		if !t.applies(c) {
			continue
		}
		var o *outcome
		start := time.Now()
		if why == "" && c.needs != needNode && !opened {
			opened = true
			if o = t.open(); o != nil {
				why, blockedBy = o.message, o.blocked
			}
		}
		switch {
		case o != nil: // the heap did not open, and this check tells why
		case why != "":
			o = skip("%s", why)
			o.blocked = blockedBy
		case c.needs == needWhole && !t.o.Full:
			o = skip("takes the whole heap; run with --full")
		default:
			o = t.guarded(c.ID, c.fn)
			switch {
			case t.gone.Load():
				why = "the kernel is stuck in " + c.ID
			case t.starved:
				why = "not even the smallest buffer can be had"
			}
		}
		t.put(c.Def, label(t.exp), o, time.Since(start))
	}
	if !t.gone.Load() && t.heap != nil {
		t.heap.Close()
	}
}

// applies leaves out the checks that have no meaning for the heap: nothing was
// stated, or it is of another kind.
func (t *target) applies(c check) bool {
	deviceOnly := t.exp.Access == heapcfg.DeviceOnly
	switch c.ID {
	case "heap-mode":
		return t.exp.Mode != 0
	case "heap-owner":
		return t.exp.Owner != ""
	case "heap-group":
		return t.exp.Group != ""
	case "heap-link":
		return t.exp.Short != ""
	case "heap-size", "heap-place", "heap-free", "alloc-largest", "alloc-exhaust":
		return t.exp.Kind != heapcfg.System
	case "mmap-refused":
		return deviceOnly
	case "import-drm", "import-v4l2":
		return t.o.Import
	case "place-pages":
		return t.exp.Kind != heapcfg.System && !deviceOnly
	}
	return c.needs != needMap || !deviceOnly
}

// open opens the heap for the function checks. It returns why they cannot run,
// or nil.
func (t *target) open() *outcome {
	if !t.board.Live {
		return skip("the board is a copy, not this machine")
	}
	var err error
	if t.files, err = t.dev.OpenFiles(); err != nil {
		t.files = -1
	}
	return t.guarded("heap-open", func(t *target) *outcome {
		h, err := t.dev.Open(t.exp.Name)
		switch {
		case err == nil:
			t.heap = h
			return nil
		case errors.Is(err, dmaheap.ErrPermission):
			return blocked("cannot open the heap: %v", err)
		}
		return fail("cannot open the heap: %v", err).because("an open heap", errText(err), t.node.Path()).
			advise("the node is there, and its driver does not answer as a heap: see dmesg")
	})
}

// guarded runs one check, turns a memory fault into a failure, and gives up on
// a kernel that does not answer.
func (t *target) guarded(id string, fn func(*target) *outcome) *outcome {
	var o *outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer onFault(func(found string) {
			o = fail("%s", faulted).because(wholeMapping, found, "mmap of the buffer").
				advise("the heap's driver does not back its mapping, or the region has no RAM behind it: see dmesg")
		})()
		o = fn(t)
	}()
	if t.o.Slow != nil {
		show := time.AfterFunc(slow, func() { t.o.Slow(id, label(t.exp)) })
		defer show.Stop()
	}
	if await(done, t.ctx.Done(), t.dev, t.o.Patience) {
		return o
	}
	t.gone.Store(true)
	t.loose = true
	if t.ctx.Err() != nil {
		return skip("interrupted")
	}
	return fail("the kernel did not answer within %v", t.o.Patience).
		because("an answer", "none", "ioctl or mmap of "+t.node.Path()).advise("%s", stuckAdvice)
}

// await waits until done, as long as the kernel answers, and not much longer
// than stop. It reports whether it is done. Reading gigabytes that no cache holds
// takes minutes, and is in order as long as one piece follows the other.
func await(done, stop <-chan struct{}, dev Device, patience time.Duration) bool {
	tick := time.NewTicker(min(patience/8, time.Second))
	defer tick.Stop()
	heard, end, stopped := dev.Answers(), time.Now().Add(patience), false
	for {
		select {
		case <-done:
			return true
		case <-stop:
			stop, stopped = nil, true
			end = time.Now().Add(min(patience, grace))
		case now := <-tick.C:
			if n := dev.Answers(); n != heard && !stopped {
				heard, end = n, now.Add(patience)
			}
			if now.After(end) {
				return false
			}
		}
	}
}

// What is said of memory that faults, and of a kernel that does not answer.
const (
	faulted      = "touching the mapped memory faulted"
	wholeMapping = "memory behind the whole mapping"
	stuckAdvice  = "the region may lie over the kernel or the initrd: compare /proc/iomem with the lock, and see dmesg"
)

// onFault returns a function to defer, which calls fn where this goroutine
// touched memory that is not there. A mapping that the kernel does not back
// faults. That is a finding about the board, not the end of this program.
func onFault(fn func(found string)) func() {
	debug.SetPanicOnFault(true)
	return func() {
		switch e := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr
		}:
			fn(fmt.Sprintf("%v at %#x", e, e.Addr()))
		default:
			panic(e)
		}
	}
}

// faultInto is onFault for a function that returns an error.
func faultInto(err *error) func() {
	return onFault(func(found string) { *err = fmt.Errorf("%w: %s", errFault, found) })
}
