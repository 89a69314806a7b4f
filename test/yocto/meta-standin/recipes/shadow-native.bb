# SPDX-License-Identifier: MIT
SUMMARY = "As much of groupadd as useradd.bbclass calls"
DESCRIPTION = "Debian's own does not get by in its pseudo."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
SRC_URI = "file://groupadd"
FILESEXTRAPATHS:prepend := "${STANDIN_LAYERDIR}/recipes/files:"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	install -D -m 0755 ${S}/groupadd ${D}${sbindir}/groupadd
}
