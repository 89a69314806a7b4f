// SPDX-License-Identifier: MIT

//go:build !linux

package check

import (
	"os"
	"syscall"

	"github.com/dmaheap/dmaheap/dmaheap"
)

func socketPair() (a, b *os.File, err error) { return nil, nil, dmaheap.ErrUnsupported }

func apart() *syscall.SysProcAttr { return nil }
