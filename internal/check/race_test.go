// SPDX-License-Identifier: MIT

//go:build race

package check

const raceEnabled = true
