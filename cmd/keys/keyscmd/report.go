package keyscmd

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"cloakroom/dataset"
	"cloakroom/internal/cli"
	"cloakroom/keys/rotation"
)

// printReport prints what was done on one line, and what is wrong or left on lines of its own. A
// run that failed before it did anything has nothing to report: "nothing was due" would be untrue.
func printReport(w io.Writer, r *rotation.Report, failed bool) {
	done := whatWasDone(r)
	if len(done) == 0 && len(r.Unfinished) == 0 && !failed {
		cli.Printf(w, "nothing %s due\n", map[bool]string{false: "was", true: "is"}[r.DryRun])
	}
	would := ""
	if r.DryRun {
		would = "would be: "
	}
	if len(done) > 0 {
		cli.Printf(w, "%s%s\n", would, strings.Join(done, " · "))
	}
	if r.Evolved != nil {
		printEvolved(w, r.Evolved)
	}
	for _, u := range r.Unfinished {
		cli.Printf(w, "unfinished   %s\n", describeUnfinished(u))
	}
	for _, k := range r.BadKeys {
		cli.Printf(w, "QUARANTINED  %s: %s\n", k.Key, k.Problem)
	}
	for i, q := range r.Quarantined {
		if i == 100 {
			cli.Printf(w, "QUARANTINED  and %d more (--json)\n", len(r.Quarantined)-i)
			break
		}
		cli.Printf(w, "QUARANTINED  %s %s (data key %d): %s\n", q.Dataset, q.RowID, q.DataKey, q.Problem)
	}
}

func whatWasDone(r *rotation.Report) []string {
	var done []string
	say := func(yes bool, format string, args ...any) {
		if yes {
			done = append(done, fmt.Sprintf(format, args...))
		}
	}
	say(r.PartitionsMade > 0, "%s made", cli.Count(r.PartitionsMade, "partition"))
	say(r.Purged > 0, "%s purged", cli.Count(r.Purged, "old rejection"))
	say(r.Rewrapped > 0, "%s rewrapped", cli.Count(r.Rewrapped, "key"))
	say(len(r.Restored) > 0, "%s as before the rewrap", cli.Count(len(r.Restored), "key"))
	switch {
	case len(r.Due) > 0 && len(r.NewKeys) > 0:
		say(true, "data %s → %s", keyList(r.Due), idList(r.NewKeys))
	case len(r.Closed) > 0:
		say(true, "%s closed", keyList(r.Closed))
	}
	say(r.Resealed > 0, "%s resealed", cli.Count(r.Resealed, "row"))
	say(r.Rejections > 0, "%s resealed", cli.Count(r.Rejections, "rejection"))
	say(len(r.Retired) > 0, "%s retired", keyList(r.Retired))
	if x := r.Reindexed; x != nil && x.To > 0 {
		say(true, "index key v%d → v%d, %s reindexed", x.From, x.To, cli.Count(x.Rows, "row"))
	}
	if e := r.Evolved; e != nil && len(e.Steps) > 0 {
		say(true, "dataset %s: %s of its change taken, %s written", e.Dataset, cli.Count(len(e.Steps), "step"),
			cli.Count(e.Rows, "row"))
	}
	say(len(r.Shredded) > 0, "%s shredded", keyList(r.Shredded))
	say(r.Cleared > 0, "%s cleared", cli.Count(r.Cleared, "row"))
	say(r.ClearedRejections > 0, "%s cleared", cli.Count(r.ClearedRejections, "rejection"))
	return done
}

// describeUnfinished says what an interrupted job was, what is left of it and what finishes it.
func describeUnfinished(u rotation.Unfinished) string {
	what := u.Step
	if u.Dataset != "" {
		what += " of dataset " + u.Dataset
	}
	if u.Step == "evolve" {
		what += ", next: " + u.Phase
	}
	text := fmt.Sprintf("%s, begun %s by %s", what, cli.Time(u.StartedAt), u.StartedBy)
	if u.Rows > 0 {
		text += fmt.Sprintf(", about %s left", cli.Count(u.Rows, "row"))
	}
	finishes := "keys " + u.Step
	if u.Step == "reseal" || u.Step == "reindex" || u.Step == "evolve" {
		finishes = "keys rotate" // what cron runs; their own commands do, too
	}
	if u.Step == "evolve" && u.Phase == dataset.JudgeTitle {
		return text + ": if keys rotate says that it is too much, apply the file without the index, or use --accept-leakage"
	}
	return text + ": " + finishes + " goes on"
}

// keyList is "key 1" or "keys 1, 2".
func keyList(ids []uint32) string {
	if len(ids) == 1 {
		return "key " + idList(ids)
	}
	return "keys " + idList(ids)
}

func idList(ids []uint32) string {
	var out []string
	for i, id := range ids {
		if i == 8 {
			return strings.Join(out, ", ") + fmt.Sprintf(" and %d more", len(ids)-i)
		}
		out = append(out, strconv.FormatUint(uint64(id), 10))
	}
	return strings.Join(out, ", ")
}
