# SPDX-License-Identifier: MIT
SUMMARY = "Debian's QEMU where runqemu looks for oe-core's"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
PROVIDES = "qemu-system-native qemu-native"
FILESEXTRAPATHS:prepend := "${STANDIN_LAYERDIR}/recipes/files:"
SRC_URI = "file://qmp.py"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	install -d ${D}${bindir} ${D}${libdir}/qemu-python/qmp
	ln -s /usr/bin/qemu-system-aarch64 ${D}${bindir}/qemu-system-aarch64
	install -m 0644 ${S}/qmp.py ${D}${libdir}/qemu-python/qmp/legacy.py
	touch ${D}${libdir}/qemu-python/qmp/__init__.py
}
