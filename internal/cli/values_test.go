package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 30 * day, "30 days": 30 * day, "1 week": 7 * day, "250ms": 250 * time.Millisecond,
		"24 hours": day, "1.5h": 90 * time.Minute, "2 Days 3 hours": 51 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(want)); err != nil || again != want {
			t.Errorf("%v is written %s, which is read as %v, %v", want, FormatDuration(want), again, err)
		}
	}
	for _, text := range []string{"30", "", "0", "-30d", "1 banana", "d", "30d nonsense", "3 months", "99999999999999d", "1e3s", "3d 4"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	if _, err := ParseDuration("-1s"); err == nil || err.Error() != "it is negative" {
		t.Errorf("-1s: %v", err)
	}
}

// testFlags are one of each kind.
type testFlags struct {
	n       int
	big     int64
	rate    float64
	grace   time.Duration
	memory  int64
	on      bool
	format  string
	fields  []string
	date    time.Time
	month   time.Time
	secret  string
	a, b, c string
}

func testCommand(f *testFlags) *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "A program"}
	cmd := &cobra.Command{Use: "do NAME", Short: "Do it", Example: "  prog do this --a x", Args: Args("NAME"), RunE: func(*cobra.Command, []string) error { return nil }}
	s := Of(cmd)
	s.Int(&f.n, "loaders", 2, Between(1, 64), "connections that load")
	s.Int64(&f.big, "seals", 10, Between[int64](1, 1<<28), "seals")
	s.Float(&f.rate, "rate", 0, Between(1.0, 1e6).OrZero("no limit"), "rows a second")
	s.Duration(&f.grace, "grace", 25*time.Second, Between(time.Second, time.Hour), "how long to commit")
	s.Size(&f.memory, "memory", 64<<20, Between[int64](1<<20, 8<<30), "memory")
	s.Bool(&f.on, "once", "end when it is empty")
	s.OneOf(&f.format, "format", "json", []string{"json", "csv"}, "format")
	s.List(&f.fields, "fields", "fields", nil)
	s.Date(&f.date, "date", "date")
	s.Month(&f.month, "month", "month")
	s.Secret(&f.secret, "owner-url", "owner")
	s.String(&f.a, "from", "", "file")
	s.String(&f.b, "source", "", "source")
	s.String(&f.c, "queue", "", "queue")
	s.Needs("date", "from")
	s.Excludes("from", "queue")
	root.AddCommand(cmd)
	return root
}

// run runs the test program and returns its error.
func run(t *testing.T, f *testFlags, args ...string) error {
	t.Helper()
	root := testCommand(f)
	var l logFlags
	setUp(root, &l)
	root.SetArgs(args)
	root.SetOut(t.Output())
	root.SetErr(t.Output())
	return root.ExecuteContext(t.Context())
}

// Every kind of value, out of range and in a wrong form, says the range and the form, wherever it
// comes from.
func TestValuesOutOfRange(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"loaders", "-1", "want a whole number from 1 to 64"},
		{"loaders", "0", "want a whole number from 1 to 64"},
		{"loaders", "65", "want a whole number from 1 to 64"},
		{"loaders", "two", "want a whole number from 1 to 64"},
		{"loaders", "1.5", "want a whole number from 1 to 64"},
		{"seals", "0", "from 1 to 268435456"},
		{"seals", "99999999999999999999", "from 1 to 268435456"},
		{"rate", "-1", "want a number from 1 to 1000000, or 0: no limit"},
		{"rate", "NaN", "want a number"},
		{"rate", "Inf", "want a number"},
		{"grace", "-1s", "want a duration such as 30s, 10m, 24h or 90d from 1s to 1h"},
		{"grace", "30", "it needs a unit"},
		{"grace", "2d", "from 1s to 1h"},
		{"memory", "64", "it needs a unit"},
		{"memory", "9GiB", "from 1MiB to 8GiB"},
		{"format", "cvs", "want one of json, csv"},
		{"fields", "ip,ip", `"ip" is named twice`},
		{"fields", "ip,", "none of them empty"},
		{"date", "2026-02-30", "want a date, YYYY-MM-DD"},
		{"month", "2026-13", "want a month, YYYY-MM"},
		{"once", "maybe", "want true or false"},
	} {
		t.Run(c.flag+"="+c.value, func(t *testing.T) {
			var f testFlags
			fails := func(where string, err error) {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), where) {
					t.Errorf("%v, want %q and %q in it", err, where, c.want)
				}
			}
			fails("--"+c.flag, run(t, &f, "do", "x", "--"+c.flag+"="+c.value))
			t.Setenv(EnvName(c.flag), c.value)
			fails(EnvName(c.flag), run(t, &f, "do", "x"))
			t.Setenv(EnvName(c.flag), "")
			path := writeFile(t, "# settings\n"+keyName(c.flag)+": '"+c.value+"'\n")
			fails(path+": line 2: "+keyName(c.flag), run(t, &f, "do", "x", "--config", path))
		})
	}
}

func TestValuesInRange(t *testing.T) {
	var f testFlags
	if err := run(t, &f, "do", "x", "--loaders", "64", "--rate=0", "--grace", "1h", "--memory", "512MiB", "--once", "--fields", "ip,device_id", "--fields", "locale", "--month", "2026-02"); err != nil {
		t.Fatal(err)
	}
	if f.n != 64 || f.rate != 0 || f.grace != time.Hour || f.memory != 512<<20 || !f.on || strings.Join(f.fields, " ") != "ip device_id locale" || f.month.Month() != 2 {
		t.Errorf("%+v", f)
	}
	// What was not given keeps its default, and --once=0 is off.
	f = testFlags{}
	if err := run(t, &f, "do", "x", "--once=0"); err != nil || f.n != 2 || f.grace != 25*time.Second || f.on || f.format != "json" {
		t.Errorf("%v: %+v", err, f)
	}
}

// A flag that would be ignored, or that contradicts another, is refused; the environment is shared
// by commands and is not.
func TestRules(t *testing.T) {
	var f testFlags
	if err := run(t, &f, "do", "x", "--date", "2026-01-01"); err == nil || !strings.Contains(err.Error(), "--date means nothing without --from") {
		t.Errorf("%v", err)
	}
	if err := run(t, &f, "do", "x", "--from", "f", "--queue", "q"); err == nil || !strings.Contains(err.Error(), "--from and --queue do not go together") {
		t.Errorf("%v", err)
	}
	if err := run(t, &f, "do", "x", "--from", "f", "--date", "2026-01-01"); err != nil {
		t.Error(err)
	}
	t.Setenv("CLOAKROOM_DATE", "2026-01-01")
	if err := run(t, &f, "do", "x"); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNotQuoted(t *testing.T) {
	root := testCommand(&testFlags{})
	cmd, _, _ := root.Find([]string{"do"})
	err := badValue("--owner-url", cmd.Flags().Lookup("owner-url"), "hunter2", errNoUnit)
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
