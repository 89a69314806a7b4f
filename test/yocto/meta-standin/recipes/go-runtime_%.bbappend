# SPDX-License-Identifier: MIT
require standin-go.inc

do_install:append() {
	cp -R ${S}/pkg/tool ${D}${libdir}/go/pkg/
}
