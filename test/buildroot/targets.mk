# SPDX-License-Identifier: MIT
#
# Included by the Makefile at the top of the repository.

.PHONY: test-buildroot
test-buildroot: ## what only Buildroot can tell of buildroot-ext; BUILDROOT_DIR=/path
	@test/buildroot/run.sh
