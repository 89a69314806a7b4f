// SPDX-License-Identifier: MIT

package cli

import (
	"io"
	"io/fs"
	"os"
)

// colored follows the custom of NO_COLOR (https://no-color.org): colour on a
// terminal only, and not where it is declined.
func colored(env *Env, w io.Writer) bool {
	return env.Getenv("NO_COLOR") == "" && isTerminal(env, w)
}

// isTerminal takes a character device for a terminal, except /dev/null. It
// must have a name: the serial console of an initramfs, which a lab records
// byte by byte, has none.
func isTerminal(env *Env, w io.Writer) bool {
	if p, ok := w.(*printed); ok {
		w = p.Writer
	}
	f, ok := w.(*os.File)
	if term := env.Getenv("TERM"); !ok || term == "" || term == "dumb" {
		return false
	}
	fi, err := f.Stat()
	if err != nil || fi.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(fi, null)
}
