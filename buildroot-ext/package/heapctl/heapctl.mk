################################################################################
#
# heapctl
#
################################################################################

# SPDX-License-Identifier: MIT

# The repository around this external tree: a checkout, or a release tarball,
# which holds the vendored modules as well. Its version is that of its commit,
# so that a new one is built without being asked for.
HEAPCTL_SITE = $(BR2_EXTERNAL_DMAHEAP_PATH)/..
HEAPCTL_SITE_METHOD = local
HEAPCTL_VERSION := $(shell $(HEAPCTL_SITE)/release/version.sh --commit)

# The program is linked from these modules.
HEAPCTL_LICENSE = \
	MIT, \
	Apache-2.0 (cobra), \
	BSD-3-Clause (pflag, x/sys), \
	MIT and Apache-2.0 (yaml.v3)
# Now, since the infrastructure adds its own remark to that of the target.
HOST_HEAPCTL_LICENSE := $(HEAPCTL_LICENSE)
HEAPCTL_LICENSE_FILES = \
	LICENSE \
	vendor/github.com/spf13/cobra/LICENSE.txt \
	vendor/github.com/spf13/pflag/LICENSE \
	vendor/golang.org/x/sys/LICENSE \
	vendor/gopkg.in/yaml.v3/LICENSE \
	vendor/gopkg.in/yaml.v3/NOTICE

# Only what the program is made of: not the documents, and above all not an
# output directory of Buildroot that somebody put into the checkout.
HEAPCTL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--include=/go.mod --include=/go.sum --include=/LICENSE \
	--exclude=testdata/ --exclude=*_test.go \
	--include=/cmd/*** --include=/dmaheap/*** --include=/heapcfg/*** \
	--include=/internal/*** --include=/vendor/*** \
	--include=/docs/ --include=/docs/man/*** --exclude=/docs/* \
	--exclude=*
HOST_HEAPCTL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	$(HEAPCTL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS)

HEAPCTL_GOMOD = github.com/dmaheap/dmaheap
HEAPCTL_BUILD_TARGETS = cmd/heapctl
# What it says of itself tells of uncommitted changes, too.
HEAPCTL_LDFLAGS = -s -w \
	-X $(HEAPCTL_GOMOD)/internal/cli.linkedVersion=$(shell $(HEAPCTL_SITE)/release/version.sh)

HOST_HEAPCTL_GOMOD = $(HEAPCTL_GOMOD)
HOST_HEAPCTL_BUILD_TARGETS = $(HEAPCTL_BUILD_TARGETS)
HOST_HEAPCTL_LDFLAGS = $(HEAPCTL_LDFLAGS)

# One static program, whatever C library the target has.
HEAPCTL_GO_ENV = CGO_ENABLED=0
HOST_HEAPCTL_GO_ENV = $(HEAPCTL_GO_ENV)

# Buildroot vendors Go modules in its download step, which a local site does
# not have. So a checkout vendors here, once, before the build is cut off from
# the network. GOPROXY and the like are the user's own; Buildroot's Go comes
# without go.env, so where nothing is said it is as in Buildroot's downloads. A
# release tarball has its vendor directory, and needs no network.
HEAPCTL_GO = $(filter-out GOPROXY=off,$(HOST_GO_HOST_ENV)) GOFLAGS=-mod=mod $(GO_BIN)
define HEAPCTL_VENDOR
	if [ ! -e $(@D)/vendor/modules.txt ]; then \
		cd $(@D); \
		proxy=$$($(HEAPCTL_GO) env GOPROXY); \
		export GOPROXY=$${proxy:-direct}; \
		$(HEAPCTL_GO) mod vendor -modcacherw || { \
			echo "ERROR: heapctl: no Go modules through GOPROXY=$${GOPROXY}."; \
			echo "Set GOPROXY to a proxy this machine reaches, or build from a"; \
			echo "release tarball (make dist), which holds them."; \
			exit 1; \
		}; \
	fi
endef
HEAPCTL_PRE_CONFIGURE_HOOKS += HEAPCTL_VENDOR
HOST_HEAPCTL_PRE_CONFIGURE_HOOKS += HEAPCTL_VENDOR

# The archive that legal-info makes of a local site is the site as it is. Put
# the modules beside it, which are part of the program too.
define HEAPCTL_SAVE_VENDOR
	if [ ! -e $(HEAPCTL_SITE)/vendor/modules.txt ]; then \
		mkdir -p $($(PKG)_REDIST_SOURCES_DIR); \
		tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
			-C $($(PKG)_DIR) -cf - vendor | gzip -n \
			>$($(PKG)_REDIST_SOURCES_DIR)/$($(PKG)_BASENAME_RAW)-vendor.tar.gz; \
	fi
endef
HEAPCTL_POST_LEGAL_INFO_HOOKS += HEAPCTL_SAVE_VENDOR
HOST_HEAPCTL_POST_LEGAL_INFO_HOOKS += HEAPCTL_SAVE_VENDOR

# Once the target package is evaluated its site looks like a source directory of
# the user's, which the host package would inherit, and lose its version. Only
# what the user really set is handed on.
ifeq ($(HOST_HEAPCTL_OVERRIDE_SRCDIR),)
HOST_HEAPCTL_OVERRIDE_SRCDIR := $(HEAPCTL_OVERRIDE_SRCDIR)
endif

# Manual pages are for whoever has the host directory; Buildroot takes them out
# of the target. Completion goes where the shell for it is.
define HOST_HEAPCTL_INSTALL_MANUAL
	$(INSTALL) -d -m 0755 $(HOST_DIR)/share/man/man1 $(HOST_DIR)/share/man/man5 \
		$(HOST_DIR)/share/bash-completion/completions
	$(INSTALL) -m 0644 $(@D)/docs/man/*.1 $(HOST_DIR)/share/man/man1/
	$(INSTALL) -m 0644 $(@D)/docs/man/*.5 $(HOST_DIR)/share/man/man5/
	$(@D)/bin/heapctl completion bash \
		>$(HOST_DIR)/share/bash-completion/completions/heapctl
endef
HOST_HEAPCTL_POST_INSTALL_HOOKS += HOST_HEAPCTL_INSTALL_MANUAL

# The program for the target does not run here, so that of the host prints it.
ifeq ($(BR2_PACKAGE_BASH),y)
HEAPCTL_DEPENDENCIES += host-heapctl
define HEAPCTL_INSTALL_COMPLETION
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/usr/share/bash-completion/completions
	$(HOST_DIR)/bin/heapctl completion bash \
		>$(TARGET_DIR)/usr/share/bash-completion/completions/heapctl
endef
HEAPCTL_POST_INSTALL_TARGET_HOOKS += HEAPCTL_INSTALL_COMPLETION
endif

$(eval $(golang-package))
$(eval $(host-golang-package))

# The licenses of the modules are there once they are vendored.
heapctl-legal-info: heapctl-configure
host-heapctl-legal-info: host-heapctl-configure
