# SPDX-License-Identifier: MIT
SUMMARY = "Debian's cross compiler under the names that oe-core calls it by"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

PN = "standin-cross-${TARGET_ARCH}"

inherit cross

INHIBIT_DEFAULT_DEPS = "1"
PROVIDES = "\
    virtual/${TARGET_PREFIX}gcc virtual/${TARGET_PREFIX}g++ virtual/${TARGET_PREFIX}binutils \
    virtual/cross-cc virtual/cross-c++ virtual/cross-binutils \
"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

STANDIN_PREFIX = "/usr/bin/${TARGET_ARCH}-linux-gnu-"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# Debian's compiler knows where its own C library is; the sysroot has none. It is
# older than the release's, too.
do_install() {
	install -d ${D}${bindir}
	for tool in gcc g++ cpp gcc-ar gcc-nm gcc-ranlib ar as ld ld.bfd nm objcopy objdump ranlib readelf size strings strip; do
		[ -e ${STANDIN_PREFIX}$tool ] || continue
		cat >${D}${bindir}/${TARGET_PREFIX}$tool <<-END
			#!/bin/sh
			for arg; do
				shift
				case \$arg in --sysroot=* | -fcanon-prefix-map) ;; *) set -- "\$@" "\$arg" ;; esac
			done
			exec ${STANDIN_PREFIX}$tool "\$@"
		END
		chmod 755 ${D}${bindir}/${TARGET_PREFIX}$tool
	done
}
