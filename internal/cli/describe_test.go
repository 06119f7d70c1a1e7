package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestDescribe(t *testing.T) {
	root := &cobra.Command{Use: "vault", Short: "Look after it", Long: "Look after it well."}
	AddVault(root)
	sub := &cobra.Command{Use: "turn KEY", Short: "Turn", RunE: func(*cobra.Command, []string) error { return nil }}
	root.AddCommand(sub)
	var number int
	var limit time.Duration
	var secret string
	var force bool
	f := Of(sub)
	f.Int(&number, "number", 3, Between(1, 9), "how often")
	f.Duration(&limit, "limit", 0, Between(time.Second, time.Hour).OrUnset("the policy's"), "how long")
	f.Secret(&secret, "owner-url", "where")
	f.Bool(&force, "force", "do it")
	f.Require("number")
	f.Needs("force", "number")
	f.Hide("limit")
	reasons := []string{"not_json", "not_object", "duplicate_member", "missing_field"}
	f.OneOf(new(string), "reason", "", reasons, "list those")

	commands := Describe(root)
	if len(commands) != 2 {
		t.Fatalf("%d commands, want 2: cobra's own are left out", len(commands))
	}
	if c := commands[0]; c.Path != "vault" || !c.Group || c.Long != "Look after it well." || len(c.Own) != 0 {
		t.Errorf("%+v", c)
	}
	var shared []string
	for _, flag := range commands[0].Shared {
		shared = append(shared, flag.Name+" "+flag.Environment+" "+flag.Key)
	}
	if diff := cmp.Diff([]string{
		"config CLOAKROOM_CONFIG ", "database-url DATABASE_URL database_url",
		"database-url-file CLOAKROOM_DATABASE_URL_FILE database_url_file", "kek CLOAKROOM_KEK kek",
		"log-format CLOAKROOM_LOG_FORMAT log_format", "log-level CLOAKROOM_LOG_LEVEL log_level",
	}, shared); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Flag{
		{Name: "force", Help: "do it", Environment: "CLOAKROOM_FORCE", Key: "force", Needs: []string{"number"}},
		{
			Name: "limit", Value: "DURATION", Help: "how long", Limits: "from 1s to 1h", Default: "the policy's",
			Environment: "CLOAKROOM_LIMIT", Key: "limit", Hidden: true,
		},
		{
			Name: "number", Value: "NUMBER", Help: "how often", Limits: "from 1 to 9", Default: "3",
			Environment: "CLOAKROOM_NUMBER", Key: "number", Needed: true,
		},
		{Name: "owner-url", Value: "TEXT", Help: "where", Environment: "CLOAKROOM_OWNER_URL", Key: "owner_url"},
		{
			Name: "owner-url-file", Value: "TEXT", Help: "file to read --owner-url from",
			Environment: "CLOAKROOM_OWNER_URL_FILE", Key: "owner_url_file",
		},
		// A long list is no flag's name: it would push every other flag's text to the right.
		{
			Name: "reason", Value: "NAME", Help: "list those",
			Limits:      "one of not_json, not_object, duplicate_member, missing_field",
			Environment: "CLOAKROOM_REASON", Key: "reason",
		},
	}, commands[1].Own); diff != "" {
		t.Error(diff)
	}
}
