# SPDX-License-Identifier: MIT
require standin-go.inc
