package keyscmd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloakroom/internal/cli"
	"cloakroom/keys"
)

// policySetting is one setting of the policy: what it is, what it takes, and how it is shown.
type policySetting struct {
	name, help string
	want       string // range and form
	parse      func(string) (policyValue, error)
	show       func(keys.Policy) string
}

// policyValue is a value as it was understood.
type policyValue struct {
	shown  string
	stored *string // as Postgres reads it; nil: NULL
	alarm  string  // why a person should be asked first
}

// PolicySetting is a setting of the policy, for the reference page.
type PolicySetting struct{ Name, Value, Takes, Help string }

// DescribePolicy lists the settings, with the values of a policy.
func DescribePolicy(p keys.Policy) []PolicySetting {
	var all []PolicySetting
	for _, s := range policySettings {
		all = append(all, PolicySetting{Name: s.name, Value: s.show(p), Takes: s.want, Help: s.help})
	}
	return all
}

const day = 24 * time.Hour

// policySettings are all settings, in the order of policy show. The ranges are narrower than the
// table's CHECKs: what is outside them is a slip of the hand.
var policySettings = []policySetting{
	{
		name: "approvals", help: "people other than the requester who must approve a request", want: "1, 2 or none",
		parse: func(text string) (policyValue, error) {
			switch text {
			case "none": // by name: a bare 0 may be a slip of the hand, and gives everything away
				return stored("none", "none", "every auditor then opens values alone, with nobody's approval"), nil
			case "1", "2":
				return stored(text, text, ""), nil
			}
			return policyValue{}, errors.New("out of range")
		},
		show: func(p keys.Policy) string {
			if p.Approvals == 0 {
				return "none"
			}
			return strconv.Itoa(p.Approvals)
		},
	},
	{
		name: "approval_groups", help: "groups of which each must approve a request (keys grant --group)",
		want: "up to five groups with commas between, or - for none",
		parse: func(text string) (policyValue, error) {
			if text == "-" {
				return stored("-", "{}", "people of one group may then approve alone"), nil
			}
			names := strings.Split(strings.ReplaceAll(text, " ", ""), ",")
			for i, name := range names {
				if !groupForm.MatchString(name) || slices.Contains(names[:i], name) || len(names) > 5 {
					return policyValue{}, errors.New("not a list of groups")
				}
			}
			return stored(strings.Join(names, ","), "{"+strings.Join(names, ",")+"}", ""), nil
		},
		show: func(p keys.Policy) string { return cmp.Or(strings.Join(p.ApprovalGroups, ","), "-") },
	},
	count("row_limit", "most rows that one request may open", 1, 1_000_000, func(p keys.Policy) int { return p.RowLimit },
		above(100_000, "one request then opens that many people's values")),
	duration("request_lifetime", "how long a request may be approved and opened", time.Minute, 365*day,
		func(p keys.Policy) string { return p.RequestLifetime },
		func(d time.Duration) string {
			if d > 30*day {
				return "an approval that old may be opened by somebody who took over the login"
			}
			return ""
		}),
	count("daily_quota", "most rows that one person may open in a day (UTC)", 1, 100_000_000,
		func(p keys.Policy) int { return p.DailyQuota }, above(1_000_000, "one person then opens that many rows in a day")),
	purposes,
	{
		name: "checkpoint_before_open", help: "whether a signed checkpoint must cover an opening's intent first",
		want: "true or false",
		parse: func(text string) (policyValue, error) {
			on, err := strconv.ParseBool(text)
			return stored(strconv.FormatBool(on), strconv.FormatBool(on), ""), err
		},
		show: func(p keys.Policy) string { return strconv.FormatBool(p.CheckpointBeforeOpen) },
	},
	count("breakglass_rows", "most rows that one break-glass request may open", 1, 10_000,
		func(p keys.Policy) int { return p.BreakglassRows }, above(1000, "that many rows then open with nobody's approval")),
	count("breakglass_unreviewed", "break-glass requests one person may have unreviewed", 1, 1000,
		func(p keys.Policy) int { return p.BreakglassUnreviewed }, nil),
	duration("data_key_max_age", "age at which keys rotate reseals under new data keys", time.Hour, 3650*day,
		func(p keys.Policy) string { return p.DataKeyMaxAge }, nil),
	duration("index_key_max_age", "age at which keys rotate reindexes", day, 3650*day,
		func(p keys.Policy) string { return p.IndexKeyMaxAge }, nil),
	duration("rejection_retention", "how long keys rotate keeps rejections", time.Minute, 3650*day,
		func(p keys.Policy) string { return p.RejectionRetention },
		func(d time.Duration) string {
			if d < day {
				return "the next keys rotate then deletes every rejection older than that, for good"
			}
			return ""
		}),
	count("days_back", "an event older than this many days is rejected", 0, 36_600, func(p keys.Policy) int { return p.DaysBack },
		func(n int) string {
			if n < 1 {
				return "every event that arrives after midnight (UTC) of its day is then rejected"
			}
			return ""
		}),
	count("days_ahead", "an event dated more than this many days ahead is rejected", 0, 366,
		func(p keys.Policy) int { return p.DaysAhead }, nil),
	{
		name: "kek", help: "KEK under which keys rotate keeps every key",
		want: "awskms:///alias/NAME, file:///PATH, or - for whichever they are under",
		parse: func(text string) (policyValue, error) {
			switch {
			case text == "-":
				return policyValue{shown: "-"}, nil
			case !kekForm.MatchString(text):
				return policyValue{}, errors.New("not a KEK's URI")
			}
			return stored(text, text, ""), nil
		},
		show: func(p keys.Policy) string {
			if p.KEK == nil {
				return "-"
			}
			return *p.KEK
		},
	},
	count("requests_per_hour", "most requests that one login may make in an hour", 1, 1_000_000,
		func(p keys.Policy) int { return p.RequestsPerHour }, nil),
	count("key_registrations", "most data keys that one login may register in an hour", 1, 1_000_000,
		func(p keys.Policy) int { return p.KeyRegistrations }, nil),
	{
		name: "shred_before", help: "months before this one a rotator may shred; - for none",
		want: "a month as YYYY-MM, not after this one, or -",
		parse: func(text string) (policyValue, error) {
			if text == "-" {
				return policyValue{shown: "-"}, nil
			}
			month, err := time.Parse("2006-01", text)
			if err != nil || !month.Before(time.Now().UTC()) {
				return policyValue{}, errors.New("not a month, or one to come")
			}
			return stored(text, text+"-01", "a rotator may then destroy every value of the months before, for good"), nil
		},
		show: func(p keys.Policy) string {
			if p.ShredBefore == nil {
				return "-"
			}
			return p.ShredBefore.Format("2006-01")
		},
	},
}

var kekForm = regexp.MustCompile(`^(awskms|file):///[^\s,]+$`)

func stored(shown, text, alarm string) policyValue { return policyValue{shown, &text, alarm} }

func above(limit int, alarm string) func(int) string {
	return func(n int) string {
		if n > limit {
			return alarm
		}
		return ""
	}
}

func count(name, help string, least, most int, of func(keys.Policy) int, alarm func(int) string) policySetting {
	return policySetting{
		name: name, help: help, want: fmt.Sprintf("a whole number from %d to %d", least, most),
		parse: func(text string) (policyValue, error) {
			n, err := strconv.Atoi(text)
			if err != nil || n < least || n > most {
				return policyValue{}, errors.New("out of range")
			}
			v := stored(strconv.Itoa(n), strconv.Itoa(n), "")
			if alarm != nil {
				v.alarm = alarm(n)
			}
			return v, nil
		},
		show: func(p keys.Policy) string { return strconv.Itoa(of(p)) },
	}
}

func duration(name, help string, least, most time.Duration, of func(keys.Policy) string,
	alarm func(time.Duration) string,
) policySetting {
	return policySetting{
		name: name, help: help,
		want: fmt.Sprintf("a duration with a unit, such as 24h or 30d, from %s to %s",
			cli.FormatDuration(least), cli.FormatDuration(most)),
		parse: func(text string) (policyValue, error) {
			d, err := cli.ParseDuration(text)
			if err != nil || d < least || d > most || d%time.Second != 0 {
				return policyValue{}, errors.New("out of range")
			}
			v := stored(inWords(d), inWords(d), "")
			if alarm != nil {
				v.alarm = alarm(d)
			}
			return v, nil
		},
		show: func(p keys.Policy) string { return showInterval(of(p)) },
	}
}

// inWords writes a duration so that a person and Postgres read the same: 30 days, 36 hours, 90
// seconds.
func inWords(d time.Duration) string {
	switch {
	case d%day == 0:
		return cli.Count(int64(d/day), "day")
	case d%time.Hour == 0:
		return cli.Count(int64(d/time.Hour), "hour")
	case d%time.Minute == 0:
		return cli.Count(int64(d/time.Minute), "minute")
	}
	return cli.Count(int64(d/time.Second), "second")
}

var intervalForm = regexp.MustCompile(`^(?:(\d+) days?)? ?(?:(\d+):(\d\d):(\d\d))?$`)

// showInterval writes what Postgres says of an interval, "1 day 12:00:00", as policy set takes it.
// Years and months, which only SQL could have set, stay as they are.
func showInterval(text string) string {
	parts := intervalForm.FindStringSubmatch(text)
	if parts == nil || text == "" {
		return text
	}
	var total time.Duration
	for i, unit := range []time.Duration{day, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.ParseInt("0"+parts[i+1], 10, 32) // digits, or nothing
		total += time.Duration(n) * unit
	}
	return inWords(total)
}

var purposeForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

var purposes = policySetting{
	name: "purposes", help: "what a request may be for",
	want: "one or more names with commas between, each of a-z, 0-9, _ and -, up to 32 characters, and none of them forget",
	parse: func(text string) (policyValue, error) {
		var names []string
		for name := range strings.SplitSeq(text, ",") {
			name = strings.TrimSpace(name)
			// A request to forget is made by keys forget alone.
			if !purposeForm.MatchString(name) || name == "forget" || slices.Contains(names, name) {
				return policyValue{}, errors.New("not a list of purposes")
			}
			names = append(names, name)
		}
		array, err := json.Marshal(names) // the quotes of a Postgres array are JSON's, its brackets are not
		return stored(strings.Join(names, ","), "{"+strings.Trim(string(array), "[]")+"}", ""), err
	},
	show: func(p keys.Policy) string { return strings.Join(p.Purposes, ",") },
}
