package cli

import (
	"cmp"
	"crypto/fips140"
	"fmt"
	"runtime/debug"
	"strings"

	"cloakroom/internal/pg"
)

// version says what runs: the module's version, the commit it was built from, Go, whether Go's
// cryptography is in FIPS 140-3 mode, and the schema that it brings.
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
	return fmt.Sprintf("%s\n  commit  %s\n  Go      %s, FIPS 140-3 %s\n  schema  %v",
		cmp.Or(strings.Trim(info.Main.Version, "()"), "devel"), commit,
		strings.TrimPrefix(info.GoVersion, "go"), fips, pg.ProgramVersion())
}
