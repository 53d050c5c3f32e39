//go:build tools

// Package tools names what support/go_programs.py builds.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
