// SPDX-License-Identifier: MIT

// Package cli is the command line of heapctl: one file per verb, each with its
// flags, its cobra command and its run function. All input and output goes
// through an [Env], so that a test runs the whole program in-process.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Env is everything a verb may touch outside of its arguments.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Exit codes, a contract that scripts rely on.
const (
	ExitOK          = 0 // done, and nothing is wrong
	ExitFailed      = 1 // a check or a rule failed
	ExitUsage       = 2 // wrong usage, or input that cannot be read
	ExitCannotTest  = 3 // permission or a resource was missing
	ExitUnsupported = 4 // this kernel has no such thing
)

// An ExitError carries an exit code other than 0. With a nil Err everything
// has been said already.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the text of Err.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// usagef makes an error of wrong usage or unreadable input.
func usagef(format string, args ...any) error {
	return &ExitError{ExitUsage, fmt.Errorf(format, args...)}
}

// Main runs heapctl with the arguments that follow its name and returns the
// exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return Run(context.Background(), &Env{stdin, stdout, stderr, os.Getenv}, args)
}

// interruptible returns a context that Ctrl-C and SIGTERM end, for what has
// something to say or to clean up then. Elsewhere they end the program, which
// may be waiting for its input, and so does a second one here.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop()
	}()
	return ctx, stop
}

// printed remembers that a write has failed: what could not be said must not
// pass for said, and few who print look at the error.
type printed struct {
	io.Writer
	err error
}

func (p *printed) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if p.err == nil {
		p.err = err
	}
	return n, err
}

// Run runs heapctl in an Env and returns the exit code.
func Run(ctx context.Context, env *Env, args []string) int {
	out := &printed{Writer: env.Stdout}
	root := NewRoot(&Env{env.Stdin, out, env.Stderr, env.Getenv})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if out.err != nil && (err == nil || errors.Is(err, out.err)) {
		err = &ExitError{ExitCannotTest, fmt.Errorf("standard output: %v", reason(out.err))}
	}
	var exit *ExitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintf(env.Stderr, "heapctl: %v\n", exit.Err)
		}
		return exit.Code
	}
	// cobra's own errors are all about usage.
	help := "heapctl help\" for the commands."
	if c, _, findErr := root.Find(args); findErr == nil && c != root {
		help = c.CommandPath() + " --help\" for its options and examples."
	}
	fmt.Fprintf(env.Stderr, "heapctl: %v\nRun \"%s\n", err, help)
	return ExitUsage
}

// exactly wants these arguments, and names the one that is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(names) == 0 && len(args) > 0:
			return fmt.Errorf("%s takes no argument, and %q is too much", c.Name(), args[0])
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s", c.Name(), strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return fmt.Errorf("%s takes %s, and %q is too much", c.Name(), strings.Join(names, " and "), args[len(names)])
		}
		return nil
	}
}

// NewRoot returns a fresh command tree.
func NewRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "heapctl",
		Short: "DMA memory for a board: from heaps.yaml to a verified boot",
		Long: `heapctl gives a board its DMA memory.

On the workstation it compiles heaps.yaml against the board's device tree into
an overlay, a kernel config fragment, device rules and a lock file, and stops
at everything that would be fatal at boot. On the board it holds the kernel's
heaps against the lock file and says what is wrong and what to do.

Exit codes:
  0  done, and nothing is wrong
  1  a check or a rule failed
  2  wrong usage, or input that cannot be read
  3  could not test: permission or a resource is missing
  4  this kernel does not support it`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	const station, board = "station", "board"
	root.AddGroup(&cobra.Group{ID: station, Title: "On the workstation:"}, &cobra.Group{ID: board, Title: "On the board:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(station, newCompile(env), newLint(env), newMap(env), newImport(env), newDiff(env), newSchema(env), newExplain(env), newInitramfs(env))
	add(board, newCheck(env), newList(env), newInfo(env), newBench(env), newStress(env))
	strict(root)
	return root
}

// strict makes a typing error an error for cobra's own commands as well. They
// print help instead, also into the file that completion was to go to.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				_, _, err := root.Find(args)
				return err
			}
		case "completion":
			// That it takes no argument is asked only of what can be run.
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// version returns the version the binary was built as. Release builds set it
// at link time; others carry what the Go toolchain recorded: the version of the
// module, or at least the commit.
func version() string {
	if linkedVersion != "" {
		return linkedVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return recordedVersion(info)
}

func recordedVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	v := "devel"
	if rev := set["vcs.revision"]; rev != "" {
		v += "-g" + rev[:min(len(rev), 12)]
	}
	if set["vcs.modified"] == "true" {
		v += "-dirty"
	}
	return v
}

// linkedVersion is set with -ldflags "-X".
var linkedVersion string

// readFile reads a whole file of at most limit bytes. "-" is standard input.
func readFile(env *Env, name string, limit int64) ([]byte, error) {
	var r io.Reader = env.Stdin
	var data bytes.Buffer
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usagef("%s: %v", name, reason(err))
		}
		defer f.Close()
		r = f
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			data.Grow(int(min(info.Size(), limit)) + bytes.MinRead)
		}
	}
	if _, err := data.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, usagef("%s: %v", name, reason(err))
	}
	if int64(data.Len()) > limit {
		return nil, usagef("%s: larger than %d MiB", name, limit>>20)
	}
	return data.Bytes(), nil
}

// reason drops the operation and the paths that os errors repeat.
func reason(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}

// words is a flag that may be repeated. The library's own makes a CSV writer for
// each flag there is, of every verb, at every start.
type words []string

func (w *words) String() string     { return strings.Join(*w, ",") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }
func (w *words) Type() string       { return "stringArray" }
