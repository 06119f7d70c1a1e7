package keyscmd

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

func newGrantCommand(vault *cli.VaultFlags) *cobra.Command {
	var role string
	var o keys.GrantOptions
	cmd := &cobra.Command{
		Use:   "grant LOGIN --role ROLE",
		Short: "Give a login one of cloakroom's roles; takes the login of keys init",
		Long: `Give a login one of cloakroom's roles: ` + strings.Join(keys.Roles, ", ") + `.

Every person and every daemon has a login of its own. Refused is a login that would hold the index key
and also read tokens: together they give back every address behind the tokens. So is one that would
ask for values and decide on requests, and a witness who would watch itself.

The login gets a limit of connections, unless it has one: one login must not take all of the server's.

--group is the login's one group, such as its department: an approval counts only for requesters of
another group, and policy approval_groups names the groups of which each must approve. --principal is
the AWS principal with which the login calls KMS: recover report --kms-log believes what the login
says of its calls for that principal alone. Both stay as they are where they are not given; - is none.

The audit log gets an entry of each change.`,
		Example: `  keys grant alice --role auditor --group fraud --principal arn:aws:iam::111122223333:user/alice
  keys grant bob --role approver --group compliance
  keys grant ingest_daemon --role ingest --connections 100`,
		Args: cli.Args("LOGIN"),
	}
	f := cli.Of(cmd)
	f.OneOf(&role, "role", "", keys.Roles, "the role")
	f.String(&o.Group, "group", "", "the login's group: a-z, 0-9, _ and -, up to 32 characters; - for none")
	f.String(&o.Principal, "principal", "", "ARN of the login's AWS user, role or session for KMS; - for none")
	f.Int(&o.Connections, "connections", 0, cli.Between(1, 10_000).OrZero("its own limit, or else by role: 10, 20, 50"),
		"most connections that the login may have at once")
	f.Require("role")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		url, err := vault.URL()
		if err != nil {
			return err
		}
		if o.Group != "" && o.Group != "-" && !groupForm.MatchString(o.Group) {
			return cli.Usage(cmd, fmt.Errorf("group %q: want a-z, 0-9, _ and -, a letter first, up to 32 characters", o.Group))
		}
		if o.Principal != "" && o.Principal != "-" && !principalForm.MatchString(o.Principal) {
			return cli.Usage(cmd, fmt.Errorf("principal %q: want an ARN of iam or sts, such as "+
				"arn:aws:iam::111122223333:user/alice", o.Principal))
		}
		limit, err := keys.Grant(cmd.Context(), url, args[0], role, o)
		if err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "%s holds %s\n", args[0], role)
		if limit < 0 {
			cli.Note(cmd, "it may take all connections of the server: this login may not limit it. As who made it: "+
				"ALTER ROLE … CONNECTION LIMIT 10")
		}
		return nil
	}
	return cmd
}

func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}

var (
	groupForm     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	principalForm = regexp.MustCompile(`^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:[^\s,]+$`)
)

func newRevokeCommand(vault *cli.VaultFlags) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "revoke LOGIN --role ROLE",
		Short: "Take one of cloakroom's roles from a login; takes the login of keys init",
		Long: `Take one of cloakroom's roles from a login, at once and for sessions that are open, too. Refused where
the login would still hold the role, through a group or by somebody else's grant: keys grants names
the group. With its last role the login leaves its group, and what it approved as one of that group
counts no more. The audit log gets an entry.`,
		Example: "  keys revoke alice --role auditor",
		Args:    cli.Args("LOGIN"),
	}
	f := cli.Of(cmd)
	f.OneOf(&role, "role", "", keys.Roles, "the role")
	f.Require("role")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		url, err := vault.URL()
		if err != nil {
			return err
		}
		if err := keys.Revoke(cmd.Context(), url, args[0], role); err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "%s no longer holds %s\n", args[0], role)
		return nil
	}
	return cmd
}

func newGrantsCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "grants",
		Short: "List which login holds which role, its group, its AWS principal, and who granted it",
		Long: `List which login holds which role, its group and AWS principal, how many connections it may have, and who
granted it. What was granted by hand, without keys grant, has no entry in the audit log. A superuser holds
every role.

It takes a login with the role auditor, approver, rotator or witness, or that of keys init.`,
		Example: "  keys grants\n  keys grants --json",
		Args:    cli.Args(),
	}
	cli.Of(cmd).Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		db, err := vault.OpenDB(cli.VaultConfig{Program: "keys"})
		if err != nil {
			return err
		}
		defer db.Close()
		list, err := keys.Holders(cmd.Context(), db)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), list)
		}
		t := cli.NewTable("LOGIN", "ROLE", "GROUP", "CONNECTIONS", "GRANTED BY", "GRANTED (UTC)", "PRINCIPAL")
		for _, h := range list {
			var most any = "no limit"
			if h.Connections >= 0 {
				most = h.Connections
			}
			by, at := "by hand", ""
			switch {
			case h.GrantedBy != nil:
				by, at = *h.GrantedBy, cli.Minute(*h.GrantedAt)
			case h.Role == "superuser":
				by = ""
			}
			if h.Via != nil {
				by += ", through group " + *h.Via
			}
			t.Row(h.Login, h.Role, orDash(h.Group), most, by, cmp.Or(at, "-"), orDash(h.Principal))
		}
		return t.Print(cmd.OutOrStdout())
	}
	return cmd
}
