package ingestcmd

import (
	"github.com/spf13/cobra"

	"cloakroom/dataset/trial"
	"cloakroom/etl"
	"cloakroom/internal/cli"
)

// shown is what a dry run shows of one event, as JSON.
type shown struct {
	Queue   string `json:"queue,omitempty"`
	Message string `json:"message"`
	Dataset string `json:"dataset"`
	trial.Outcome
}

// lister shows what the first events of a dry run would become, as ingest test does: tokens as labels, made under keys of
// the run's own; sealed values never. nil: nothing is to be shown.
func (s *settings) lister(cmd *cobra.Command) func(etl.Judged) error {
	if s.show == 0 {
		return nil
	}
	trials := map[string]*trial.Trial{}
	n, out := 0, cmd.OutOrStdout()
	return func(j etl.Judged) error {
		if n++; n > s.show {
			return nil
		}
		o := trial.Outcome{Line: int64(n), Outcome: trial.Rejected, Reason: j.Reason, Member: j.Member}
		switch {
		case j.Ignored:
			o.Outcome = "ignored"
		case j.Reason == "":
			t := trials[j.Dataset.Name]
			if t == nil {
				var err error
				if t, err = trial.New(j.Dataset); err != nil {
					return err
				}
				trials[j.Dataset.Name] = t
			}
			var err error
			if o, err = t.Try(int64(n), j.Event); err != nil {
				return err
			}
		}
		if s.asJSON {
			return cli.PrintJSONLine(out, shown{j.Queue, j.Message.ID.String(), j.Dataset.Name, o})
		}
		cli.Printf(out, "message %s, dataset %s\n", j.Message.ID, j.Dataset.Name)
		if j.Ignored {
			cli.Printf(out, "event %d: ignored, because it is no event (s3:TestEvent)\n", n)
			return nil
		}
		printOutcome(out, "event", o)
		return nil
	}
}
