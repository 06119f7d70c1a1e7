package keyscmd

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
	"cloakroom/internal/cli"
	"cloakroom/keys"
)

// rateTime is how long the speed of HMAC is measured: within a few per cent on a machine that does nothing else.
const rateTime = 200 * time.Millisecond

func newDatasetLeakageCommand(vault *cli.VaultFlags) *cobra.Command {
	var asJSON bool
	var month time.Time
	var svg, auxiliary, member string
	cmd := &cobra.Command{
		Use:   "leakage NAME",
		Short: "Measure what equal tokens give away, index by index, and say what to do",
		Long: `Measure what equal tokens give away. Anybody who reads the view sees how often each token occurs. Anybody
who also knows roughly how often each value does can guess which is which: sort both, and lay one beside the
other. This does so, with the month before as what is known, and counts the rows guessed right.

It takes the rotator's login. It reads two months of rows, and changes nothing.

With --auxiliary, a list of values and how often they occur in public is what is known: CSV with the
columns value and count, or JSON Lines with members of these names. Its tokens are made here, so this needs
the KEK: the rotator's is the one login that may have both tokens and the index key. An ingest login has
the key, and with counts of tokens it could look up any value, so it cannot run this.`,
		Example: `  keys dataset leakage orders
  keys dataset leakage orders --month 2026-10 --svg orders.svg
  keys dataset leakage orders --member email --auxiliary surnames.csv`,
		Args: cli.Args("NAME"),
	}
	f := cli.Of(cmd)
	f.Month(&month, "month", "attack this month's rows; without it, the newest with enough")
	f.String(&auxiliary, "auxiliary", "", "FILE of public counts that the attacker knows, .csv or .jsonl")
	f.String(&member, "member", "", "the member whose values --auxiliary has; without it, the only one with an index")
	f.String(&svg, "svg", "", "also draw frequency against rank into this FILE.svg")
	f.Bool(&asJSON, "json", "print JSON")
	f.Needs("member", "auxiliary")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, closeVault, err := vault.Open(cmd.Context(), cli.VaultConfig{
			Program: "keys", NoKEK: auxiliary == "", StatementTimeout: countTimeout, MaxConns: 2,
		})
		if err != nil {
			return err
		}
		defer closeVault()
		list, err := v.Datasets(cmd.Context())
		if err != nil {
			return err
		}
		d, err := list.Find(args[0])
		if err != nil {
			return err
		}
		rate, err := leakage.TokenRate(rateTime)
		if err != nil {
			return err
		}
		var report *leakage.Report
		if auxiliary == "" {
			report, err = v.Leakage(cmd.Context(), d, month, rate)
		} else {
			report, err = againstPublic(cmd, v, d, month, rate, auxiliary, member)
		}
		if err != nil {
			return err
		}
		if err := writePicture(svg, report); err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(cmd.OutOrStdout(), report)
		}
		return printLeakage(cmd.OutOrStdout(), report)
	}
	return cmd
}

// againstPublic measures with a file of public counts as what is known.
func againstPublic(cmd *cobra.Command, v *keys.Vault, d *dataset.Dataset, month time.Time, rate float64,
	path, member string) (*leakage.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading --auxiliary: %w", err)
	}
	defer f.Close()
	values, err := leakage.ReadAuxiliary(f)
	if err != nil {
		return nil, fmt.Errorf("reading --auxiliary %s: %w", path, err)
	}
	return v.LeakageAgainst(cmd.Context(), d, member, values, month, rate)
}

// printSample prints what a dataset's indexes give away in a sample.
func printSample(cmd *cobra.Command, d *dataset.Dataset, path string) error {
	rate, err := leakage.TokenRate(rateTime)
	if err != nil {
		return err
	}
	report, rejected, err := leakage.Sample(d, func(take func([]byte)) error {
		_, err := cli.ReadEvents(cmd, path, func(_ int64, body []byte) error {
			take(body)
			return nil
		})
		return err
	}, rate)
	if err != nil {
		return err
	}
	if rejected > 0 {
		cli.Note(cmd, "%s of %s would be rejected, and %s left out", cli.Count(rejected, "event"), path,
			isAre(rejected))
	}
	return printLeakage(cmd.OutOrStdout(), report)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// writePicture draws the report into a file. An empty path is none.
func writePicture(path string, r *leakage.Report) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing --svg: %w", err)
	}
	if err := r.SVG(f); err != nil {
		f.Close()
		return fmt.Errorf("writing --svg: %w", err)
	}
	return f.Close()
}

// printLeakage prints a line of figures an index, then what they mean in words, then the words themselves.
func printLeakage(w io.Writer, r *leakage.Report) error {
	if len(r.Indexes) == 0 {
		cli.Printf(w, "dataset %s: no member has an index: nobody is told that two values are equal\n", r.Dataset)
		return nil
	}
	cli.Printf(w, "dataset %s, %s; what is known: %s\n\n", r.Dataset, orSample(r.Month), r.Known)
	table := cli.NewTable("INDEX", "ROWS", "TOKENS", "TOP", "BITS", "BY RANK", "GIVES AWAY", "WITH CLEAR", "PINNED 2/4",
		"KEY HOLDER")
	for _, ix := range r.Indexes {
		pinned := "-"
		if u := ix.Unicity; u.Users > 0 {
			all := float64(u.Users)
			pinned = fmt.Sprintf("%.0f/%.0f %%", 100*float64(u.By2)/all, 100*float64(u.By4)/all)
		}
		share := func(rows int64) string { return leakage.Percent(leakage.Share(float64(rows), ix.Rows)) }
		table.Row(ix.Member+" "+ix.Index, big(ix.Rows), big(ix.Tokens), share(ix.TopRows),
			fmt.Sprintf("%.1f", ix.MinEntropy), share(ix.UniqueRows),
			leakage.Percent(ix.GivesAway), leakage.Percent(ix.WithClear), pinned, long(ix.Seconds))
	}
	if err := table.Print(w); err != nil {
		return err
	}
	cli.Printf(w, "\n")
	for _, ix := range r.Indexes {
		cli.Printf(w, "%-9s %s %s: %s\n", strings.ToUpper(short(ix.Verdict)), ix.Member, ix.Index, ix.Advice)
	}
	for _, m := range r.Members {
		cli.Printf(w, "%-9s %s, all that it shows taken together: %s of the rows\n", "TOGETHER", m.Member,
			leakage.Percent(m.GivesAway))
	}
	cli.Printf(w, "\n")
	explain(w, r)
	return nil
}

// explain says what each column of the table is.
func explain(w io.Writer, r *leakage.Report) {
	cli.Printf(w, "TOP         rows of the most frequent token; BITS: how hard one row's value is to guess by that\n")
	cli.Printf(w, "BY RANK     rows in tokens whose count no other token has\n")
	cli.Printf(w, "GIVES AWAY  rows guessed right by who knows how often each value occurs; over %s is too much\n",
		leakage.Percent(leakage.MaxGivesAway))
	switch {
	case len(r.Clear) > 0:
		cli.Printf(w, "WITH CLEAR  the same by who looks at %s, too\n", r.Clear)
	default:
		cli.Printf(w, "WITH CLEAR  the same: no clear column was looked at\n")
	}
	if len(r.Left) > 0 {
		cli.Printf(w, "            not looked at, for their many values: %s\n", r.Left)
	}
	cli.Printf(w, "PINNED      people who are the only one with 2, with 4 of their tokens on known days\n")
	cli.Printf(w, "KEY HOLDER  how long one core takes to try every value with the index key, at %s tokens a second\n",
		big(int64(r.Rate)))
	for _, ix := range r.Indexes {
		cli.Printf(w, "            %s %s: %s\n", ix.Member, ix.Index, ix.Domain)
	}
}

// orSample names what was attacked: a sample has no month.
func orSample(month string) string {
	if month == "" {
		return "a sample"
	}
	return month
}

// short is a verdict that fits its column.
func short(v leakage.Verdict) string {
	switch v {
	case leakage.TooFew:
		return "too few"
	case leakage.Beside:
		return "warning"
	}
	return string(v)
}

// big is a number for people: 812,345.
func big(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// long is a duration in the unit a reader would use; 0 is never.
func long(seconds float64) string {
	switch {
	case seconds == 0:
		return "never"
	case seconds < 1:
		return "< 1 s"
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 7200:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 2*86400:
		return fmt.Sprintf("%.0f h", seconds/3600)
	case seconds < 2*365.25*86400:
		return fmt.Sprintf("%.0f days", seconds/86400)
	}
	return fmt.Sprintf("%.0f years", math.Round(seconds/365.25/86400))
}
