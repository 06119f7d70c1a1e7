package cli

import (
	"cmp"
	"crypto/fips140"
	"fmt"
	"runtime/debug"
	"strings"
)

// version says what runs: the module's version, the commit it was built from, Go, and whether Go's cryptography is in
// FIPS 140-3 mode.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of an unknown build"
	}
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	commit := cmp.Or(setting["vcs.revision"], "unknown")
	if setting["vcs.modified"] == "true" {
		commit += " with changes"
	}
	fips := "off"
	if fips140.Enabled() {
		fips = "on"
	}
	return fmt.Sprintf("%s, commit %s, %s, FIPS 140-3 %s",
		cmp.Or(strings.Trim(info.Main.Version, "()"), "devel"), commit, info.GoVersion, fips)
}
