// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"math/rand"
)

// An op is one thing that a thread does to the heaps.
type op uint8

const (
	opAlloc op = iota
	opClose
	opMap
	opUnmap
	opRemap
	opFill
	opVerify
	opSync
	opDup
	opSend
	opReceive
	opFork
	opHold
	opImport
	opPrime
	opBadAlloc
	opBadMap
	opOddCall
	opNoFiles
	opNoRoom
	opLook
	opProtect
	opCount
)

var opNames = [opCount]string{
	"alloc", "close", "map", "unmap", "remap", "fill", "verify", "sync", "dup", "send", "receive", "fork", "hold",
	"import", "prime", "bad-alloc", "bad-map", "odd-call", "no-files", "no-room", "look", "protect",
}

func (o op) String() string { return opNames[o] }

// weights say how often an op comes, for each op in the order of its number.
// What takes a whole heap, or starts a program, is rare.
var weights = [opCount]int{
	opAlloc: 36, opClose: 14, opMap: 12, opUnmap: 8, opRemap: 6, opFill: 14, opVerify: 14, opSync: 8, opDup: 6, opSend: 6,
	opReceive: 6, opFork: 3, opHold: 1, opImport: 4, opPrime: 4, opBadAlloc: 6, opBadMap: 6, opOddCall: 6, opNoFiles: 1,
	opNoRoom: 1, opLook: 2, opProtect: 4,
}

// slots is how many buffers a process can have at hand.
const slots = 6

// A step is an op with everything that chance decides about it. The list of
// steps is a function of the seed alone, whatever the kernel answers to them:
// that is what makes a run repeatable from its log.
type step struct {
	Op   op
	Slot int
	// A to D are for the op to use as it likes.
	A, B, C, D uint32
}

func (s step) String() string {
	return fmt.Sprintf("%-9s slot %d  %08x %08x %08x %08x", s.Op, s.Slot, s.A, s.B, s.C, s.D)
}

// pick makes one of n of a number of a step. An int of 32 bits may not hold the
// number.
func pick(number uint32, n int) int { return int(number % uint32(n)) }

// steps derives the steps of one thread.
func steps(seed int64, n int) []step {
	rng := rand.New(rand.NewSource(seed))
	sum := 0
	for _, w := range weights {
		sum += w
	}
	list := make([]step, n)
	for i := range list {
		at := rng.Intn(sum)
		o := op(0)
		for at >= weights[o] {
			at -= weights[o]
			o++
		}
		list[i] = step{o, rng.Intn(slots), rng.Uint32(), rng.Uint32(), rng.Uint32(), rng.Uint32()}
	}
	return list
}

// threadSeed is the seed of a thread in a worker in a round of a run.
func threadSeed(run int64, round, worker, thread int) int64 {
	// Any mixing does, as long as it never changes: logs name only the run's.
	h := uint64(run)
	for _, v := range []int{round, worker, thread} {
		h = (h ^ uint64(v+1)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return int64(h >> 1)
}

// A kill says when a worker is to be killed, if at all.
type kill struct {
	Worker  int
	AfterMs int
}

// A plan is what a round is made of.
type plan struct {
	Round  int
	Kills  []kill
	Starve bool // allocations of the kernel fail at random
}

func planRound(run int64, round, workers int, canStarve bool) plan {
	rng := rand.New(rand.NewSource(threadSeed(run, round, -1, -1)))
	p := plan{Round: round}
	for w := range workers {
		// Half of them end by themselves: their last checks count too.
		if rng.Intn(2) == 0 {
			p.Kills = append(p.Kills, kill{w, rng.Intn(1500)})
		}
	}
	p.Starve = rng.Intn(3) == 0 && canStarve
	return p
}
