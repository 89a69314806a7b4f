# SPDX-License-Identifier: MIT
SUMMARY = "Debian's busybox and dropbear as the system of core-image-minimal"
DESCRIPTION = "A login on both consoles of qemuarm64, ssh, and mdev for the \
devices. It stands in for base-files, busybox, init and the C library, so that \
core-image-dmaheap is built by oe-core's own classes and booted by testimage."
LICENSE = "GPL-2.0-only & LGPL-2.1-only & MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# Filled with: apt-get download busybox-static:arm64 dropbear-bin:arm64 and what
# the latter depends on.
STANDIN_DEBS ??= "${HOME}/.cache/dmaheap/debs"

INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"

FILESEXTRAPATHS:prepend := "${STANDIN_LAYERDIR}/recipes/files:"
SRC_URI = "file://standin-rcS file://standin-inittab"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	for deb in ${STANDIN_DEBS}/*_arm64.deb; do
		dpkg-deb -x $deb ${WORKDIR}/debs
	done
	rm -rf ${WORKDIR}/debs/usr/share ${WORKDIR}/debs/usr/lib/aarch64-linux-gnu/gconv ${WORKDIR}/debs/etc
	cp -a ${WORKDIR}/debs/. ${D}/
	chown -R root:root ${D}

	install -d ${D}/dev ${D}/proc ${D}/sys ${D}/tmp ${D}/run ${D}/root ${D}/mnt ${D}${sbindir} ${D}${sysconfdir}/default ${D}${sysconfdir}/dropbear ${D}${sysconfdir}/init.d ${D}/sbin ${D}/bin
	ln -sf busybox ${D}/bin/sh
	ln -sf ../bin/busybox ${D}/sbin/init
	install -m 0755 ${S}/standin-rcS ${D}${sysconfdir}/init.d/rcS
	install -m 0644 ${S}/standin-inittab ${D}${sysconfdir}/inittab
	echo 'root::0:0:root:/root:/bin/sh' >${D}${sysconfdir}/passwd
	echo 'root::19000:0:99999:7:::' >${D}${sysconfdir}/shadow
	printf '%s\n' root:x:0: video:x:44: >${D}${sysconfdir}/group
	echo ${MACHINE} >${D}${sysconfdir}/hostname
	echo 'export PS1="root@${MACHINE}:~# "' >${D}${sysconfdir}/profile
	echo /bin/sh >${D}${sysconfdir}/shells
}
do_install[cleandirs] += "${WORKDIR}/debs"

PROVIDES += "base-files base-passwd bash-completion shadow shadow-sysroot"
# testimage looks for a package called dropbear.
PACKAGES = "dropbear ${PN}"
FILES:dropbear = "${sbindir}/dropbear"
FILES:${PN} = "/"
RDEPENDS:${PN} = "dropbear"
RPROVIDES:${PN} = "base-files base-passwd bash-completion busybox run-postinsts packagegroup-core-boot packagegroup-core-ssh-dropbear shadow"
INSANE_SKIP:${PN} = "already-stripped dev-so file-rdeps ldflags libdir usrmerge arch staticdev textrel dev-deps"
EXCLUDE_FROM_SHLIBS = "1"
SKIP_FILEDEPS = "1"
