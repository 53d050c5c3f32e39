//go:build tools

// Package tools names what support/go_programs.py builds.
package tools

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"
