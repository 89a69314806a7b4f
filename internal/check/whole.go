// SPDX-License-Identifier: MIT

package check

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dmaheap/dmaheap/dmaheap"
	"github.com/dmaheap/dmaheap/heapcfg"
	"github.com/dmaheap/dmaheap/internal/report"
)

// promised is the largest single buffer the heap should give now, and how that
// was found.
func (t *target) promised() (n uint64, how string) {
	u := t.board.Usage(t.exp.Name, t.areas(t.exp)...)
	size := t.exp.Range.Size
	if u.Size.Known() {
		size = u.Size.Value
	}
	switch {
	case u.Largest.Known():
		n, how = u.Largest.Value, "the largest free block in "+u.Largest.From
	case u.Used.Known():
		n, how = size-min(size, u.Used.Value), "size less what is used in "+u.Used.From
	default:
		n, how = size, "the size of the region"
	}
	return n - n%t.unit(), how
}

// largest finds the largest buffer that can be allocated, at most limit.
func (t *target) largest(limit uint64) (Buffer, uint64, error) {
	if b, err := t.alloc(limit); err == nil {
		return b, limit, nil
	} else if !errors.Is(err, dmaheap.ErrNoMemory) {
		return nil, 0, err
	}
	// An allocation of lo is known to work, one of hi to fail.
	lo, hi := uint64(0), limit/t.unit()
	for hi-lo > 1 && t.ctx.Err() == nil {
		mid := lo + (hi-lo)/2
		b, err := t.alloc(mid * t.unit())
		if err != nil {
			if !errors.Is(err, dmaheap.ErrNoMemory) {
				return nil, 0, err
			}
			hi = mid
			continue
		}
		b.Close()
		lo = mid
	}
	if lo == 0 {
		return nil, 0, dmaheap.ErrNoMemory
	}
	b, err := t.alloc(lo * t.unit())
	return b, lo * t.unit(), err
}

func (t *target) allocLargest() *outcome {
	if t.whole() == 0 {
		return skip("neither the kernel nor the device tree tells how large the heap is")
	}
	limit, how := t.promised()
	if limit == 0 {
		return fail("nothing is free").because("a free block", "0", how).advise("end the programs that hold the heap%s", t.heldBy())
	}
	start := time.Now()
	b, got, err := t.largest(limit)
	took := time.Since(start)
	if err != nil {
		return t.allocFailed(t.unit(), err)
	}
	defer b.Close()
	o := pass("%s in one buffer, in %v (%s is %s)", size(got), took.Round(time.Microsecond), how, size(limit))
	if got+t.alignSlack() < limit {
		o = fail("one buffer gets %s at most, not %s", size(got), size(limit)).
			because(size(limit)+": "+how, size(got), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
			advise("%s", t.shortAdvice())
	} else if want := t.whole(); want > 0 && got+t.alignSlack() < want && got < want-want/4 {
		o = fail("one buffer gets %s of the %s that were promised%s", size(got), size(want), t.heldBy()).
			because(size(want), size(got), how).
			advise("%s", t.shortAdvice())
	}
	// The pages must be there, not only the promise of them.
	if o.status == report.Pass && t.exp.Access != heapcfg.DeviceOnly {
		if err := fill(b, 6); err != nil {
			return mapFailed(b, err)
		}
		bad, err := verify(b, 6)
		if err != nil {
			return mapFailed(b, err)
		}
		if bad >= 0 {
			return fail("the largest buffer does not keep its bytes, from offset %#x on", bad).
				because("the written pattern", "other bytes", "mmap of the dma-buf").
				advise("something else uses this memory: look for OVERLAP in dmesg, and whether the region covers the kernel or the initrd")
		}
	}
	return o.measure("largest", float64(got), "bytes").measure("latency", took.Seconds(), "seconds")
}

// whole is the size of the heap as the kernel knows it; a difference to the
// lock is for heap-size to tell.
func (t *target) whole() uint64 {
	if t.usage.Size.Known() {
		return t.usage.Size.Value
	}
	return t.exp.Range.Size
}

func (t *target) shortAdvice() string {
	if t.exp.Kind == heapcfg.CMA {
		return "end the programs that hold buffers of the heap; if nobody does, pages in the area cannot be moved away: see dmesg for cma_alloc, or use a carveout, which nothing else can use"
	}
	return "end the programs that hold buffers of the heap; if nobody does, the driver loses memory: see dmesg"
}

// allocExhaust takes the heap in pieces until it is empty, looks at how it says
// so, gives everything back and takes the largest block once more.
func (t *target) allocExhaust() *outcome {
	if t.whole() == 0 {
		return skip("neither the kernel nor the device tree tells how large the heap is")
	}
	first, how := t.promised()
	before := t.board.Usage(t.exp.Name, t.areas(t.exp)...)
	if first == 0 {
		return skip("nothing is free")
	}
	var held []Buffer
	release := func() {
		for _, b := range held {
			b.Close()
		}
		held = nil
	}
	defer release()
	const pieces, most = 8, 4096
	total := uint64(0)
	for n := max(t.unit(), first/pieces/t.unit()*t.unit()); ; {
		b, err := t.alloc(n)
		if err == nil {
			held = append(held, b)
			total += b.Size()
			if len(held) >= most {
				return warn("the heap is not exhausted by %d buffers, %s in all", most, size(total)).
					because("ENOMEM", "success", "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
					advise("the heap is larger than the lock says, or does not come from its region")
			}
			if t.ctx.Err() != nil {
				return skip("interrupted")
			}
			continue
		}
		if !errors.Is(err, dmaheap.ErrNoMemory) {
			if errors.Is(err, syscall.EMFILE) {
				return blocked("too many open files: ulimit -n")
			}
			return fail("an empty heap answers with the wrong error").
				because("ENOMEM (cannot allocate memory)", errText(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
				advise("programs wait and try again on ENOMEM only; the driver must return it")
		}
		if n == t.unit() {
			break
		}
		n = max(t.unit(), n/2/t.unit()*t.unit())
	}
	size1 := len(held)
	release()
	o := pass("ENOMEM after %s in %d buffers; all of it came back", size(total), size1)
	if b, err := t.retake(first); err != nil {
		return fail("memory that was given back cannot be allocated again: %v", err).
			because(size(first)+" in one block, as before", fmt.Sprint(err), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
			advise("the driver loses memory, or does not join free blocks: watch largest_free under /sys/kernel/dma_heap, and dmesg")
	} else {
		b.Close()
	}
	if before.Used.Known() {
		if after, ok := t.usedBack(before.Used.Value); !ok {
			return fail("%s stay in use after everything was given back", size(after-before.Used.Value)).
				because(size(before.Used.Value)+" in use", size(after), before.Used.From).
				advise("the driver loses memory: watch the file while buffers are allocated and freed")
		}
	}
	if total+t.alignSlack() < first {
		return fail("only %s of %s could be taken in pieces", size(total), size(first)).because(size(first)+": "+how, size(total), "DMA_HEAP_IOCTL_ALLOC on "+t.node.Path()).
			advise("%s", t.shortAdvice())
	}
	return o.measure("capacity", float64(total), "bytes")
}

// recovery is how long freed memory may take to come back. Drivers may clean
// it in the background, and must then wait for it before they refuse.
const recovery = 2 * time.Second

// retake takes the largest block again.
func (t *target) retake(n uint64) (Buffer, error) {
	end := time.Now().Add(recovery)
	for {
		b, err := t.alloc(n)
		if err == nil {
			return b, nil
		}
		if t.alignSlack() > 0 && n > 2*t.alignSlack() {
			if b, err := t.alloc(n - t.alignSlack()); err == nil {
				return b, nil
			}
		}
		if time.Now().After(end) {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// usedBack waits until no more is used than before.
func (t *target) usedBack(before uint64) (uint64, bool) {
	end := time.Now().Add(recovery)
	for {
		now := t.board.Usage(t.exp.Name, t.areas(t.exp)...).Used
		if !now.Known() || now.Value <= before {
			return now.Value, true
		}
		if time.Now().After(end) {
			return now.Value, false
		}
		time.Sleep(20 * time.Millisecond)
	}
}
