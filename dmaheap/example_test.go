// SPDX-License-Identifier: MIT

package dmaheap_test

import (
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/dmaheap/dmaheap/dmaheap"
)

// Allocate one frame, draw into it, and hand its descriptor to a driver.
func Example() {
	heap, err := dmaheap.Open("linux,cma")
	if err != nil {
		log.Fatal(err)
	}
	defer heap.Close()

	buf, err := heap.Alloc(1920 * 1080 * 2)
	if err != nil {
		log.Fatal(err)
	}
	defer buf.Close()

	m, err := buf.Map(dmaheap.ReadWrite)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	err = buf.Sync(dmaheap.Write, func() error {
		frame := m.Bytes()
		for i := range frame {
			frame[i] = 0x80
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the driver imports descriptor", buf.FD())
}

// Try the names one kernel after the other has given the same heap.
func ExampleOpen() {
	for _, name := range []string{"default_cma_region", "linux,cma", "reserved"} {
		heap, err := dmaheap.Open(name)
		switch {
		case errors.Is(err, dmaheap.ErrNoHeap):
			continue
		case errors.Is(err, dmaheap.ErrPermission):
			log.Fatalf("%v: is this user in the group of the node?", err)
		case err != nil:
			log.Fatal(err)
		}
		defer heap.Close()
		fmt.Println("using", heap.Name())
		return
	}
	log.Fatal("this kernel has no CMA heap")
}

// Pass a buffer to another process.
func ExampleSend() {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "/run/encoder.sock", Net: "unix"})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	heap, err := dmaheap.Open("video")
	if err != nil {
		log.Fatal(err)
	}
	defer heap.Close()
	buf, err := heap.Alloc(4 << 20)
	if err != nil {
		log.Fatal(err)
	}
	defer buf.Close()
	if err := dmaheap.Send(conn, buf); err != nil {
		log.Fatal(err)
	}
}

// Tell an empty heap from every other failure.
func ExampleHeap_Alloc() {
	heap, err := dmaheap.Open("video")
	if err != nil {
		log.Fatal(err)
	}
	defer heap.Close()

	buf, err := heap.Alloc(64 << 20)
	if errors.Is(err, dmaheap.ErrNoMemory) {
		log.Fatal("the video heap is full, or too fragmented for one block of 64 MiB")
	}
	if err != nil {
		log.Fatal(err)
	}
	defer buf.Close()
}

// Take a buffer from another process and see how large it is.
func ExampleReceive() {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: "/run/encoder.sock", Net: "unix"})
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	conn, err := listener.AcceptUnix()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	buf, err := dmaheap.Receive(conn)
	if err != nil {
		log.Fatal(err)
	}
	defer buf.Close()
	fmt.Println(buf.Size(), "bytes")
}
