# SPDX-License-Identifier: MIT
SUMMARY = "What do_rootfs wants of apt and dpkg, which Debian has"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# oe-core puts its own paths in the places of the words between hashes, and makes
# no other folder that packages could be kept in than lists.
do_install() {
	install -d ${D}${sysconfdir}/apt
	cat >${D}${sysconfdir}/apt/apt.conf.sample <<-END
		Dir
		{
		  State "#APTCONF#/" { Lists "lists/"; status "#ROOTFS#/var/lib/dpkg/status"; };
		  Cache "#APTCONF#/" { Archives "lists/"; pkgcache ""; srcpkgcache ""; };
		  Etc "#APTCONF#/" { Parts "apt.conf.d/"; SourceParts "none"; TrustedParts "none"; };
		  Log "#APTCONF#/lists/";
		};
		APT
		{
		  Install-Recommends "true";
		  Immediate-Configure "false";
		  Architecture "arm64";
		  Get { Assume-Yes "true"; };
		  Sandbox { User "root"; };
		};
		Acquire { AllowInsecureRepositories "true"; Languages "none"; };
		DPkg::Options {"--root=#ROOTFS#";"--admindir=#ROOTFS#/var/lib/dpkg";"--force-all";"--no-force-overwrite";"--no-debsig";"--log=/dev/null"};
		DPkg::Path "";
	END
}
