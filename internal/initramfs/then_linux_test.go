// SPDX-License-Identifier: MIT

package initramfs

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBootParameters(t *testing.T) {
	got := bootParameters("console=ttyS0 root=PARTUUID=ab-02 rootfstype=ext4 rw rootflags=data=journal init=/bin/sh ro quiet\n")
	want := boot{root: "PARTUUID=ab-02", fstype: "ext4", flags: "data=journal", init: "/bin/sh"}
	if got != want {
		t.Errorf("bootParameters = %+v, want %+v", got, want)
	}
	if got := bootParameters("root=/dev/a rw root=/dev/b"); got.root != "/dev/b" || !got.write {
		t.Errorf("bootParameters = %+v, want the last root and rw", got)
	}
}

func TestBlockTypes(t *testing.T) {
	got := blockTypes("nodev\tsysfs\nnodev\ttmpfs\n\text4\n\tsquashfs\n")
	if d := cmp.Diff([]string{"ext4", "squashfs"}, got); d != "" {
		t.Errorf("blockTypes (-want +got):\n%s", d)
	}
}

func TestRootDevice(t *testing.T) {
	for root, wantErr := range map[string]bool{"/dev/null": false, "/dev/not-there": false, "/dev/nfs": true, "UUID=1234": true, "ubi0:rootfs": true, "PARTUUID=no-such": false} {
		dev, err := rootDevice(root)
		if (err != nil) != wantErr || (dev != "") != (root == "/dev/null") {
			t.Errorf("rootDevice(%s) = %q, %v", root, dev, err)
		}
	}
}

// The file system that is on the device has the last word, wherever it stands
// in the list of the kernel.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		errs []error
		want string
	}{
		{nil, "the kernel has no file system for devices"},
		{[]error{syscall.EINVAL}, syscall.EINVAL.Error()},
		{[]error{syscall.EINVAL, syscall.EINVAL}, "no file system of this kernel is on it"},
		{[]error{syscall.EINVAL, syscall.EUCLEAN, syscall.EINVAL}, syscall.EUCLEAN.Error()},
	} {
		if got := refusal(tt.errs).Error(); got != tt.want {
			t.Errorf("refusal(%v) = %s, want %s", tt.errs, got, tt.want)
		}
	}
}
