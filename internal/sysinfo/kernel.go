// SPDX-License-Identifier: MIT

package sysinfo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strconv"
	"strings"
)

// A Config is the configuration the kernel was built with.
type Config struct {
	Path string // where it was read, for evidence
	vals map[string]string
}

// Value returns "y", "m" or the text of a symbol, which is named without
// CONFIG_. A symbol that is not set, or that this kernel does not have, is "".
func (c Config) Value(symbol string) string { return c.vals[symbol] }

// Has reports whether the kernel's source knows the symbol, set or not.
func (c Config) Has(symbol string) bool {
	_, ok := c.vals[symbol]
	return ok
}

// Int returns a numeric symbol.
func (c Config) Int(symbol string) (int, bool) {
	n, err := strconv.Atoi(c.vals[symbol])
	return n, err == nil
}

// Config returns the kernel's configuration from /proc/config.gz or, where the
// kernel does not carry it, from the file that distributions put into /boot.
func (b *Board) Config() (Config, error) {
	return b.config.get(func() (Config, error) {
		data, err := b.read("kernel config", "proc/config.gz")
		if err == nil {
			if data, err = gunzip(data); err == nil {
				return parseConfig("/proc/config.gz", data), nil
			}
			b.note("kernel config", "/proc/config.gz", err)
		}
		if b.Release == "" || strings.ContainsAny(b.Release, "/\x00") {
			return Config{}, err
		}
		for _, path := range []string{"boot/config-" + b.Release, "lib/modules/" + b.Release + "/config"} {
			if data, err = b.read("kernel config", path); err == nil {
				return parseConfig("/"+path, data), nil
			}
		}
		return Config{}, err
	})
}

func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxFile+1))
	if err == nil && len(out) > maxFile {
		err = errTooLarge
	}
	return out, err
}

func parseConfig(path string, data []byte) Config {
	c := Config{Path: path, vals: map[string]string{}}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		line := s.Text()
		if sym, ok := strings.CutPrefix(line, "# CONFIG_"); ok {
			if sym, ok = strings.CutSuffix(sym, " is not set"); ok {
				c.vals[sym] = ""
			}
			continue
		}
		if rest, ok := strings.CutPrefix(line, "CONFIG_"); ok {
			sym, val, _ := strings.Cut(rest, "=")
			c.vals[sym] = strings.Trim(val, `"`)
		}
	}
	return c
}

// Log returns the lines of the kernel log, without level and time stamp.
func (b *Board) Log() ([]string, error) {
	return b.log.get(func() ([]string, error) {
		if b.readLog == nil {
			err := errors.New("not the running kernel")
			b.note("kernel log", "dmesg", err)
			return nil, err
		}
		data, err := b.readLog()
		if err != nil {
			b.note("kernel log", "dmesg", err)
			return nil, err
		}
		lines := parseLog(data)
		if !bytes.Contains(data, []byte("Linux version ")) {
			err = errors.New("the ring buffer has overwritten the messages of the boot")
		}
		b.note("kernel log", "dmesg", err)
		return lines, nil
	})
}

// parseLog splits what syslog(2) returns: "<6>[    0.000000] text".
func parseLog(data []byte) []string {
	var out []string
	for _, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "<") {
			if i := strings.IndexByte(line, '>'); i > 0 && i < 6 {
				line = line[i+1:]
			}
		}
		if strings.HasPrefix(line, "[") {
			if i := strings.IndexByte(line, ']'); i > 0 && i < 24 {
				line = strings.TrimPrefix(line[i+1:], " ")
			}
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return out
}
