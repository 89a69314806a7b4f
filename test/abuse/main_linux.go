// SPDX-License-Identifier: MIT

// Abuse attacks the DMA heaps of the kernel it runs on. It is for virtual
// machines: it takes all memory of every heap, kills processes, makes the
// kernel's allocations fail and puts the system to sleep.
//
// What it does follows from one number, the seed. Rounds of processes with
// several threads each allocate, map, pass on, import and give up buffers, and
// some of the processes are killed meanwhile. Every page that is read must hold
// zeroes or the tag of its own buffer. After each round the heaps must be
// empty and in one piece, and the kernel must not have complained.
//
// What the steps of a seed are can be seen without running them:
//
//	abuse steps -seed 7 -round 3 -worker 2 -thread 0
//
// Which of them the kernel gets to see at the same time, and where a kill
// strikes, is up to the scheduler; the same seed makes the same calls.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Exit codes.
const (
	exitOK     = 0
	exitBroken = 1 // the kernel did something wrong
	exitUsage  = 2
	exitUnable = 3 // it could not be tested
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	err := dispatch(args)
	var bad *errBroken
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &bad):
		fmt.Fprintf(os.Stderr, "BROKEN: %v\n", err)
		return exitBroken
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "abuse: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(os.Stderr, "abuse: %v\n", err)
		return exitUnable
	}
}

var errUsage = errors.New("usage: abuse [flags], or abuse steps [flags]; -h lists them")

func dispatch(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "steps":
			return printSteps(args[1:])
		case "worker":
			return startWorker(args[1:])
		case "faults":
			return startFaults(args[1:])
		case "hold":
			proc, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			ms, err := strconv.Atoi(args[2])
			if err != nil {
				return err
			}
			return holdBuffer(uint16(proc), ms)
		}
	}
	d := director{out: os.Stdout}
	var heaps, parts string
	fs := flag.NewFlagSet("abuse", flag.ContinueOnError)
	fs.Int64Var(&d.seed, "seed", 0, "what everything follows from; 0 takes a new one")
	fs.DurationVar(&d.duration, "duration", time.Minute, "how long rounds are begun")
	fs.IntVar(&d.first, "first", 0, "begin with this `round`")
	fs.IntVar(&d.rounds, "rounds", 0, "how many rounds; 0: by duration alone")
	fs.IntVar(&d.workers, "workers", 5, "processes in a round")
	fs.IntVar(&d.threads, "threads", 3, "threads of a process")
	fs.IntVar(&d.steps, "steps", 150, "steps of a thread")
	fs.StringVar(&heaps, "heaps", "", "heaps, with a blank between them; all by default")
	fs.StringVar(&parts, "parts", "rounds,faults,sleep", "what to do")
	if err := fs.Parse(args); err != nil || fs.NArg() > 0 || d.workers < 1 || d.workers > maxWorkers || d.threads < 1 || d.threads > maxThreads {
		return errUsage
	}
	d.heaps = strings.Fields(heaps)
	if d.seed == 0 {
		d.seed = time.Now().UnixNano() & 0xffffffff
	}
	return d.run(strings.Split(parts, ","))
}

func printSteps(args []string) error {
	fs := flag.NewFlagSet("abuse steps", flag.ContinueOnError)
	seed := fs.Int64("seed", 1, "seed of the run")
	round := fs.Int("round", 0, "")
	worker := fs.Int("worker", 0, "")
	thread := fs.Int("thread", 0, "")
	n := fs.Int("steps", 150, "")
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	for i, s := range steps(threadSeed(*seed, *round, *worker, *thread), *n) {
		fmt.Printf("%4d  %v\n", i, s)
	}
	return nil
}

func startWorker(args []string) error {
	var j job
	if err := json.Unmarshal([]byte(args[0]), &j); err != nil {
		return err
	}
	c, err := mapCounters(countersFD)
	if err != nil {
		return err
	}
	return work(j, c)
}
