# SPDX-License-Identifier: MIT
#
# Included by the Makefile at the top of the repository.

.PHONY: dist
dist: ## the release tarball, with the Go modules in it, in build/dist
	@buildroot-ext/support/dist.sh

.PHONY: test-buildroot
test-buildroot: ## what only Buildroot can tell of buildroot-ext; BUILDROOT_DIR=/path
	@test/buildroot/run.sh
