package pg_test

import (
	"strings"
	"testing"

	"cloakroom/internal/pg"
)

// What is wrong with a URL is said, unless the cause may quote its password.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:hunter2@db/d?sslmode=verify-ful":           `"verify-ful" is not supported`,
		"postgres://u:hunter2#x@db/d":                            "want a postgres:// URL",
		"password=hunter2 host":                                  "want a postgres:// URL",
		"host=db password='hunter2":                              "want a postgres:// URL",
		"postgres://u:hunter2@db/d?target_session_attrs=primery": `"primery" is not supported`,
	} {
		_, err := pg.Open(pg.Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
