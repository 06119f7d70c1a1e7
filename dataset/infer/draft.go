package infer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"cloakroom/dataset"
)

// maxMembers is how many members a definition may have.
const maxMembers = 200

// Options of a draft.
type Options struct {
	Name   string // of the dataset
	Table  string // empty: the name and an s
	Source string // what the sample is called in the draft's first line
}

// Member is a member of a draft.
type Member struct {
	Name     string           `json:"name"`
	From     string           `json:"from"`
	Type     dataset.Type     `json:"type"`
	Required bool             `json:"required"`
	Sealed   bool             `json:"sealed"`
	Personal dataset.Personal `json:"personal,omitempty"`
	Why      string           `json:"why,omitempty"`
	Notes    []string         `json:"notes,omitempty"`
	Values   int64            `json:"values"` // of the sample; nulls are none
	Dropped  int64            `json:"dropped,omitempty"`
}

// Draft is a definition and what it was made of.
type Draft struct {
	YAML    []byte   `json:"-"`
	Dataset string   `json:"dataset"`
	Table   string   `json:"table"`
	Subject string   `json:"subject,omitempty"`
	ID      string   `json:"id,omitempty"`
	Time    string   `json:"time,omitempty"`
	Members []Member `json:"members"`
	// Events are those that were looked at.
	Events int64 `json:"events"`
	// Broken are events that no dataset can store, by their reason; Foreign share no member with most others.
	Broken  map[dataset.Reason]*lines `json:"broken,omitempty"`
	Foreign *lines                    `json:"foreign,omitempty"`
	// LeftOut are members without a place in the draft: too many, or with names that look like values.
	LeftOut int `json:"members_left_out,omitempty"`
}

// Sealed and Clear are the names of the members that looked personal, and of those that did not.
func (d *Draft) Sealed() []string { return d.names(true) }

// Clear are the names of the members that stand in clear.
func (d *Draft) Clear() []string { return d.names(false) }

// Skipped says what of the sample the draft was not made of.
func (d *Draft) Skipped() []string {
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(d.Broken)) {
		out = append(out, fmt.Sprintf("Broken, so left out: %s %s.", reason, d.Broken[reason]))
	}
	if d.Foreign != nil {
		out = append(out, fmt.Sprintf("Of another kind, so left out: %s. They share no member with most others.", d.Foreign))
	}
	if d.LeftOut > 0 {
		out = append(out, fmt.Sprintf("Left out: %s, too many for a dataset or with names that look like values.",
			counted(int64(d.LeftOut), "member")))
	}
	return out
}

func (d *Draft) names(sealed bool) []string {
	var out []string
	for _, m := range d.Members {
		if m.Sealed == sealed {
			out = append(out, m.Name)
		}
	}
	return out
}

// TableName is a valid name for a dataset made of any text: a file's name, say.
func TableName(text string) string { return column(dataset.Words(text), maxTable) }

// Draft makes the definition. It fails if no event could be looked at.
func (s *Sample) Draft(o Options) (*Draft, error) {
	if s.core == nil {
		s.learnCore()
	}
	members := s.members()
	if s.events == 0 || len(members) == 0 {
		return nil, fmt.Errorf("no event of the sample is a JSON object with members%s", s.whyBroken())
	}
	nameMembers(members, o.Name)
	d := &Draft{
		Dataset: o.Name, Table: cmp.Or(o.Table, plural(o.Name)), Events: s.events, Broken: s.broken, LeftOut: s.strange,
	}
	if s.foreign.N > 0 {
		d.Foreign = &s.foreign
	}
	w := writer{sample: s, draft: d, members: members, source: o.Source}
	w.subject = pickSubject(members, s.events)
	if w.time = pickTime(members, s.events); w.time != nil {
		w.time.require(s.events)
		if w.id = pickID(members, w.subject, o.Name, s.events); w.id != nil {
			w.id.require(s.events)
		}
	}
	for _, m := range members {
		d.Members = append(d.Members, Member{
			Name: m.Name, From: m.From(), Type: m.Type, Required: m.Required, Sealed: m.Protect != nil, Personal: m.what,
			Why: m.why, Notes: m.notes, Values: m.from.values(), Dropped: m.lost,
		})
	}
	d.Subject, d.ID, d.Time = nameOf(w.subject), nameOf(w.id), nameOf(w.time)
	d.YAML = w.write()
	// The rules stand in one place: a draft that breaks one is a mistake here, and is not handed out.
	if _, problems := dataset.Lint(d.YAML); len(problems.Errors()) > 0 {
		return nil, fmt.Errorf("drafting a dataset: %w", problems.Errors())
	}
	return d, nil
}

func nameOf(m *member) string {
	if m == nil {
		return ""
	}
	return m.Name
}

// plural is a table's name for a dataset's.
func plural(name string) string {
	if name == "" || name[len(name)-1] == 's' || len(name) >= maxTable {
		return name
	}
	return name + "s"
}

func (s *Sample) whyBroken() string {
	text := ""
	for _, reason := range slices.Sorted(maps.Keys(s.broken)) {
		text += fmt.Sprintf("; %s: %s", reason, s.broken[reason])
	}
	return text
}

// members are the places that become members, in the order in which they appeared first. Where there are too many,
// objects with many are kept whole, and then the rarest are left out.
func (s *Sample) members() []*member {
	leaves := s.root.leaves(nil)
	for len(leaves) > maxMembers {
		widest, most := (*node)(nil), 1
		for _, leaf := range leaves {
			if n := len(leaf.parent.children); leaf.parent != s.root && n > most {
				widest, most = leaf.parent, n
			}
		}
		if widest == nil {
			slices.SortStableFunc(leaves, func(a, b *node) int { return cmp.Compare(b.values(), a.values()) })
			s.strange += len(leaves) - maxMembers
			leaves = leaves[:maxMembers]
			break
		}
		widest.open = true
		leaves = s.root.leaves(nil)
	}
	slices.SortFunc(leaves, func(a, b *node) int { return a.place - b.place })
	var out []*member
	for _, leaf := range leaves {
		out = append(out, makeMember(leaf, s.events))
	}
	return out
}

// leaves are the places below one that become members.
func (n *node) leaves(out []*node) []*node {
	for _, child := range n.children {
		if child.apart() {
			out = child.leaves(out)
		} else {
			out = append(out, child)
		}
	}
	return out
}

// apart: the object's members become members of the dataset. An address stays whole.
func (n *node) apart() bool {
	return n.objects > 0 && n.objects == n.values() && !n.open && len(n.children) > 0 && n.elements == nil && !n.isPostal()
}

func (l *lines) String() string {
	text := fmt.Sprintf("%d (line ", l.N)
	if l.N > 1 {
		text = fmt.Sprintf("%d (lines ", l.N)
	}
	for i, line := range l.First {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(line)
	}
	if l.N > int64(len(l.First)) {
		text += ", …"
	}
	return text + ")"
}
