// SPDX-License-Identifier: MIT

package heapcfg

import "testing"

// FuzzKernelConfig reads the configuration of a kernel, which is an error or
// has an answer to everything it is asked.
func FuzzKernelConfig(f *testing.F) {
	f.Add([]byte("# Linux/arm64 6.12.117 Kernel Configuration\nCONFIG_ARM64=y\n# CONFIG_X is not set\nCONFIG_CMA_AREAS=8\nCONFIG_LOCALVERSION=\"\"\n"))
	f.Add([]byte("CONFIG_=\n=y\nCONFIG_A=\"\\\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKernelConfig(data)
		if (err == nil) == (k == nil) {
			t.Errorf("ParseKernelConfig = %v, %v; want one of them", k, err)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"6.12", "6.12.117-rt3", "v5", "", "6.-1", "99999999999999999999.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		again, err := ParseVersion(v.String())
		if err != nil || again != v {
			t.Errorf("ParseVersion(%q) = %v, read back as %v, %v", s, v, again, err)
		}
	})
}
