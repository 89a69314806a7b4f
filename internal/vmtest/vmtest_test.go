// SPDX-License-Identifier: MIT

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeQEMU stands in for QEMU where only the host side is under test: a script
// that plays a console.
func fakeQEMU(t *testing.T, script string) VM {
	t.Helper()
	file := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return VM{Machine: Machine{QEMU: file}, Kernel: "Image", Initrd: "init rd", Timeout: 20 * time.Second}
}

func TestRunResult(t *testing.T) {
	vm := fakeQEMU(t, `printf '[    0.000000] Booting Linux\r\n'
printf 'init: rules line 1 applied\r\n\r\nHEAPCTL-RUN 0 /bin/heapctl check x\r\nok 1\r\n[    0.500000] random: x\r\nok 2\r\n\r\nHEAPCTL-DONE 0 0\r\n'
printf '\r\nHEAPCTL-RUN 1 /bin/other\r\nbad\r\n\r\nHEAPCTL-DONE 1 3\r\n\r\nHEAPCTL-EXIT 3\r\n'
`)
	var live bytes.Buffer
	vm.Console = CommandOutput(&live)
	got, err := Run(context.Background(), vm)
	if err != nil {
		t.Fatal(err)
	}
	if want := "ok 1\nok 2\nbad\n"; live.String() != want {
		t.Errorf("CommandOutput = %q, want %q", live.String(), want)
	}
	want := []Command{
		{Line: "/bin/heapctl check x", Output: "ok 1\nok 2\n", Done: true},
		{Line: "/bin/other", Exit: 3, Output: "bad\n", Done: true},
	}
	if got.Exit != 3 {
		t.Errorf("Exit = %d, want 3", got.Exit)
	}
	if d := cmp.Diff(want, got.Commands); d != "" {
		t.Errorf("Commands (-want +got):\n%s", d)
	}
}

func TestRunNoResult(t *testing.T) {
	tests := []struct {
		name, script, reason, fault, tail string
	}{
		{
			name:   "panic",
			script: `printf '[    0.1] ok\r\n[    0.2] Kernel panic - not syncing: no init\r\n[    0.3] after\r\n'`,
			reason: "went off or rebooted", fault: "[    0.2] Kernel panic - not syncing: no init", tail: "[    0.3] after",
		},
		{name: "silent", script: `exit 0`, reason: "went off or rebooted"},
		{name: "qemu fails", script: `echo "no such machine" >&2; exit 1`, reason: "exit status 1"},
		// A command may print the word, but only the whole line counts.
		{name: "not the line", script: `echo "log: HEAPCTL-EXIT 0"; echo HEAPCTL-EXIT; echo "HEAPCTL-EXIT 0x"`, reason: "went off", tail: "HEAPCTL-EXIT 0x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Run(context.Background(), fakeQEMU(t, tt.script))
			var e *NoResultError
			if !errors.As(err, &e) || !errors.Is(err, ErrNoResult) {
				t.Fatalf("Run = %v, want a NoResultError", err)
			}
			if !strings.Contains(e.Reason, tt.reason) {
				t.Errorf("Reason = %q, want it to have %q", e.Reason, tt.reason)
			}
			if e.Fault != tt.fault {
				t.Errorf("Fault = %q, want %q", e.Fault, tt.fault)
			}
			last := ""
			if len(e.Tail) > 0 {
				last = e.Tail[len(e.Tail)-1]
			}
			if last != tt.tail {
				t.Errorf("last console line = %q, want %q", last, tt.tail)
			}
			if !strings.Contains(err.Error(), "'init rd'") {
				t.Errorf("the error has no command line to paste: %v", err)
			}
		})
	}
}

func TestRunStops(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		vm := fakeQEMU(t, `echo hello; exec sleep 60`)
		vm.Timeout = 300 * time.Millisecond
		_, err := Run(context.Background(), vm)
		var e *NoResultError
		if !errors.As(err, &e) || !strings.Contains(e.Reason, "stopped after 300ms") {
			t.Errorf("Run = %v, want it to be stopped after 300ms", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if _, err := Run(ctx, fakeQEMU(t, `exec sleep 60`)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v, want the context's error", err)
		}
	})
	t.Run("flood", func(t *testing.T) {
		_, err := Run(context.Background(), fakeQEMU(t, `exec yes panic`))
		var e *NoResultError
		if !errors.As(err, &e) || !strings.Contains(e.Reason, "console output") {
			t.Errorf("Run = %v, want it to be stopped for too much output", err)
		}
	})
	for name, line := range map[string]string{
		"panic for ever": `[    0.000000] ---[ end Kernel panic - not syncing: no memory ]---`,
		"no firmware":    `Reboot failed -- System halted`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(context.Background(), fakeQEMU(t, `echo "`+line+`"; exec sleep 60`))
			var e *NoResultError
			if !errors.As(err, &e) || !strings.Contains(e.Reason, "could not reboot") {
				t.Errorf("Run = %v, want it to be stopped where the kernel is at its end", err)
			}
		})
	}
	t.Run("no qemu", func(t *testing.T) {
		_, err := Run(context.Background(), VM{Machine: Machine{QEMU: "/nonexistent/qemu"}})
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Run = %v, want os.ErrNotExist", err)
		}
	})
}

// A busy host must not make a machine late. Two programs on one processor
// each wait for the other half of the time.
func TestStarvedDoesNotCount(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("this kernel does not tell how long a process waited")
	}
	var pids []int
	for range 2 {
		cmd := exec.Command("taskset", "-c", "0", "sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		pids = append(pids, cmd.Process.Pid)
	}
	start := time.Now()
	const limit = time.Second
	if !outlasts(context.Background(), pids[0], limit) {
		t.Fatal("outlasts gave up")
	}
	if took := time.Since(start); took < limit*3/2 {
		t.Errorf("half of the time on a processor, and %v were over after %v", limit, took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if outlasts(ctx, pids[1], time.Minute) {
		t.Error("outlasts goes on when there is nothing left to wait for")
	}
}
