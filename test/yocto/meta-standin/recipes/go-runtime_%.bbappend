# SPDX-License-Identifier: MIT
require standin-go.inc

# It is built with, and not installed: heapctl is static.
inherit nopackages

do_install:append() {
	cp -R ${S}/pkg/tool ${D}${libdir}/go/pkg/
}
