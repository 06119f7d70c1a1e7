package recovercmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the real command against a vault with three logins, two of user-1. ALICE and
// ALICE2 are auditors', BOB and CAROL approvers', DAVE an analyst's DATABASE_URL.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			c := newFixture(t)
			urls := map[string]string{
				"ALICE": c.aliceURL, "BOB": c.bobURL,
				"ALICE2": c.As(t, "alice2", "auditor"), "CAROL": c.As(t, "carol", "approver"),
				"DAVE": c.As(t, "dave", "analyst"), "EVE": c.As(t, "eve", "breakglass"), "WITNESS": c.As(t, "witness", "witness"),
			}
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error {
					for name, url := range urls {
						env.Setenv(name, url)
					}
					env.Setenv("CLOAKROOM_KEK", c.KEK)
					env.Setenv("MESSAGE", c.first.ID.String())
					env.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
					return nil
				},
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"exits":  exits,
					"policy": func(ts *testscript.TestScript, _ bool, args []string) { c.setPolicy(ts, args) },
					"idof":   idOf,
					"forget": c.forget,
					"change": c.change,
				},
			})
		})
	}
}

// exits CODE COMMAND… runs a command and wants its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGUMENTS")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s exits %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// forget USER files a request to forget, as keys forget does, and keeps its id in FORGET.
func (c *fixture) forget(ts *testscript.TestScript, _ bool, args []string) {
	var id string
	if err := c.admin.Get(&id, `SELECT cloakroom.request_forget($1, 'GDPR-17', 'letter of 3 May')`, args[0]); err != nil {
		ts.Fatalf("forget: %v", err)
	}
	ts.Setenv("FORGET", id)
}

// change NAME VALUE changes a setting of the policy, as keys policy set does.
func (c *fixture) change(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := c.admin.Exec(`SELECT cloakroom.set_policy($1, $2)`, args[0], args[1]); err != nil {
		ts.Fatalf("change: %v", err)
	}
}

// idof NAME keeps what the last command printed, a request's id alone, in the environment.
func idOf(ts *testscript.TestScript, _ bool, args []string) {
	id := strings.TrimSuffix(ts.ReadFile("stdout"), "\n")
	if _, err := uuid.Parse(id); err != nil {
		ts.Fatalf("standard output is %q, want an id alone", id)
	}
	ts.Setenv(args[0], id)
}

func (c *fixture) setPolicy(ts *testscript.TestScript, args []string) {
	if _, err := c.admin.Exec(`UPDATE cloakroom.settings SET ` + strings.Join(args, " ")); err != nil {
		ts.Fatalf("policy: %v", err)
	}
}
