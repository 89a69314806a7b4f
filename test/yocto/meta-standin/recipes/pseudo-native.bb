# SPDX-License-Identifier: MIT
SUMMARY = "Debian's pseudo where oe-core looks for its own"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
PROVIDES = "pseudo-native virtual/fakeroot-native"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	install -d ${D}${bindir} ${D}${prefix}/lib/pseudo/lib
	for tool in pseudo pseudodb pseudolog; do
		ln -s /usr/bin/$tool ${D}${bindir}/$tool
	done
	install -m 0755 /usr/lib/*/pseudo/libpseudo.so ${D}${prefix}/lib/pseudo/lib/
}
