package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// planner finds the changes between two definitions, and their steps.
type planner struct {
	old, new *Dataset
	version  uint32
	changes  []Change
	steps    []Step
}

func (p *planner) add(code, member, format string, args ...any) {
	p.changes = append(p.changes, Change{Code: code, Member: member, Text: fmt.Sprintf(format, args...)})
}

// remain says of the last change that what it takes away is still elsewhere.
func (p *planner) remain() { p.changes[len(p.changes)-1].Remains = remains }

func (p *planner) step(phase int, by, title, sql string) {
	p.steps = append(p.steps, Step{By: by, Title: title, SQL: sql, phase: phase})
}

func (p *planner) refuse(code, member, what, why string) {
	p.changes = append(p.changes, Change{Code: code, Member: member, Text: what, Refused: why})
}

// datasetChanges refuses what is bound into rows, keys or partitions.
func (p *planner) datasetChanges() {
	for _, c := range []struct{ key, old, new, why string }{
		{"dataset", p.old.Name, p.new.Name,
			"the name is in the associated data of every sealed value and in every subkey: declare a second dataset"},
		{"table", p.old.Table, p.new.Table,
			"partitions and indexes have its name: declare a second dataset, or make a view of another name"},
		{"subject", p.old.Subject, p.new.Subject, "the subject is in the associated data of every sealed value"},
		{"id", p.old.ID, p.new.ID,
			"the row id is in the associated data of every sealed value: an event that is sent again would be a " +
				"second row"},
		{"time", p.old.Time, p.new.Time,
			"the time is in the key of every row: an event that is sent again would be a second row"},
		{"partition", string(p.old.Partition), string(p.new.Partition),
			"partitions cannot be parted or joined without moving their rows"},
	} {
		if c.old != c.new {
			p.refuse(c.key, "", fmt.Sprintf("%s: %q becomes %q", c.key, c.old, c.new), c.why)
		}
	}
}

// order finds members that changed places. Columns of a table do not, but the view's do.
func (p *planner) order() {
	var before, after []string
	for i := range p.old.Members {
		if _, kept := p.new.Member(p.old.Members[i].Name); kept {
			before = append(before, p.old.Members[i].Name)
		}
	}
	for i := range p.new.Members {
		if _, there := p.old.Member(p.new.Members[i].Name); there {
			after = append(after, p.new.Members[i].Name)
		}
	}
	if !slices.Equal(before, after) {
		p.add("order", "", "members stand in another order: the view's columns do, too")
		p.views("")
	}
}

func (p *planner) alter(format string, args ...any) string {
	return fmt.Sprintf("ALTER TABLE %s "+format+";\n", append([]any{qualified(p.new.Table)}, args...)...)
}

// addColumns adds what a member needs that is not in the table. A column that is added is NULL in the rows that are
// there, so it is never NOT NULL; the decoder holds new events to required.
func (p *planner) addColumns(columns []Column) string {
	var b strings.Builder
	for _, c := range columns {
		c.NotNull = false
		b.WriteString(p.alter("ADD COLUMN %s", columnSQL(c)))
	}
	return b.String()
}

// columnsOf are the new definition's columns of a member.
func (p *planner) columnsOf(m *Member, roles ...Role) []Column {
	at := p.new.index(m.Name)
	var out []Column
	for _, c := range p.new.TableColumns([]uint32{p.version}) {
		if c.Member == at && slices.Contains(roles, c.Role) {
			out = append(out, c)
		}
	}
	return out
}

func (p *planner) addMember(m *Member) {
	p.add("add_member", m.Name, "%s is added; it is NULL in the rows that are there", m.Name)
	p.prepare(p.addColumns(p.columnsOf(m, RoleClear, RoleText, RoleSealed, RoleReveal, RoleToken)))
	if m.Protect != nil {
		p.hold(m.checks(p.version))
		p.makeIndexes(m.Indexes())
	}
	p.views("")
}

func (p *planner) prepare(sql string) {
	p.step(phasePrepare, ByOwner, "prepare the table", sql)
}

// hold adds CHECKs without looking at the rows that are there, which would lock the table for as long as they are
// read, and then looks.
func (p *planner) hold(checks []check) {
	for _, c := range checks {
		p.step(phaseHold, ByOwner, "hold rows to it", p.alter("ADD CONSTRAINT %s CHECK (%s) NOT VALID", quote(c.name),
			c.condition))
		p.step(phaseValidate, ByOwner, "look at the rows that are there", p.alter("VALIDATE CONSTRAINT %s",
			quote(c.name)))
	}
}

// makeIndexes makes the indexes of token columns. On the parent there is a name alone at first, so that no writer
// waits.
func (p *planner) makeIndexes(indexes []Index) {
	for _, ix := range indexes {
		column := ix.TokenColumn(p.version)
		p.prepare(fmt.Sprintf("CREATE INDEX %s ON ONLY %s (%s);\n", quote(p.new.indexName(column)),
			qualified(p.new.Table), quote(column)))
		p.steps = append(p.steps, Step{By: ByRotation, Title: "make the index on each partition",
			Indexes: []string{column}, phase: phaseIndex})
	}
}

// judge stops a change whose new indexes give away too much, before they are made on every partition.
func (p *planner) judge(indexes []Index) {
	for _, ix := range indexes {
		p.steps = append(p.steps, Step{
			By: ByRotation, Title: JudgeTitle, Judged: []string{ix.TokenColumn(p.version)}, phase: phaseJudge,
		})
	}
}

// views makes the views again in one transaction with a change of the table.
func (p *planner) views(change string) {
	p.step(phaseViews, ByOwner, "make the views again, granted as before", change)
}

func (p *planner) memberChanges(old, new *Member) {
	name := new.Name
	switch {
	case old.Type != new.Type:
		p.refuse("type", name, fmt.Sprintf("type %s becomes %s", old.Type, new.Type),
			"what is stored has the old type: add a member with another name that reads the same place once this "+
				"one is gone")
		return
	case old.Protect != nil && new.Protect == nil:
		p.refuse("unprotect", name, name+" loses its protection",
			"opening every value would be a recovery that nobody requested or approved")
		return
	}
	if from := new.From(); from != old.From() {
		p.add("from", name, "%s is read from %s; rows that are there keep what was read from %s", name, from,
			old.From())
	}
	p.required(old, new)
	p.lengths(old, new)
	p.checks(old, new)
	switch {
	case new.Protect == nil:
	case old.Protect == nil:
		p.protect(old, new)
	default:
		p.protection(old, new)
	}
}

func (p *planner) required(old, new *Member) {
	switch {
	case old.Required == new.Required:
	case new.Required:
		p.add("required", new.Name, "%s is required from now on; rows that are there may have NULL", new.Name)
	default:
		p.add("optional", new.Name, "%s is no longer required", new.Name)
		if old.Protect == nil {
			p.allowNull(old)
		}
	}
}

func (p *planner) allowNull(m *Member) {
	for _, c := range m.clearColumns(0) {
		p.prepare(p.alter("ALTER COLUMN %s DROP NOT NULL", quote(c.Name)))
	}
}

// lengths widens columns, which only the catalogue knows of: no row is read or written.
func (p *planner) lengths(old, new *Member) {
	whole := func(m *Member) int { return m.Precision - m.Scale }
	switch {
	case old.Max == new.Max && old.Precision == new.Precision && old.Scale == new.Scale:
		return
	case new.Max < old.Max || new.Scale < old.Scale || whole(new) < whole(old):
		p.refuse("narrow", new.Name, new.Name+" gets narrower",
			"rows may hold longer values: use min, max of a number, enum or pattern to hold new events to less")
		return
	case new.Scale != old.Scale:
		p.refuse("scale", new.Name, new.Name+" gets more digits after the point",
			"Postgres would write every row again, and lock the table for it: add a member")
		return
	}
	p.add("widen", new.Name, "%s takes longer values", new.Name)
	if old.Protect != nil || new.Protect != nil {
		return
	}
	before := old.clearColumns(0)
	for i, c := range new.clearColumns(0) {
		if c.Type != before[i].Type {
			// A view stands in the way of its column's type.
			p.step(phaseWiden, ByOwner, "widen columns, and make the views again", p.alter("ALTER COLUMN %s TYPE %s",
				quote(c.Name), c.Type))
		}
	}
}

func (p *planner) checks(old, new *Member) {
	bounds := func(m *Member) [3]string { return [3]string{m.Least, m.Most, m.Pattern} }
	if old.Min != new.Min || bounds(old) != bounds(new) || !slices.Equal(old.Enum, new.Enum) {
		p.add("checks", new.Name, "new events are held to other values of %s; rows that are there stay", new.Name)
	}
}

// protection compares two protections of one member.
func (p *planner) protection(old, new *Member) {
	a, b := old.Protect, new.Protect
	if a.Pad != b.Pad {
		p.refuse("pad", new.Name, fmt.Sprintf("pad %d becomes %d", a.Pad, b.Pad),
			"values that are sealed open only with the pad they were sealed with")
	}
	if !slices.Equal(a.Normalise, b.Normalise) && len(a.Indexes) > 0 {
		p.refuse("normalise", new.Name, new.Name+" is normalised otherwise",
			"tokens of old and new rows would not meet: add an index of the other kind, or a member")
		return
	}
	if a.Reveal != b.Reveal {
		p.reveal(old, new)
	}
	for _, kind := range a.Indexes {
		if !slices.Contains(b.Indexes, kind) {
			p.dropIndex(Index{Member: old, Kind: kind})
		}
	}
	for _, ix := range new.Indexes() {
		if !slices.Contains(a.Indexes, ix.Kind) {
			p.addIndex(ix)
		}
	}
	if !slices.Equal(a.Nothing, b.Nothing) {
		p.add("nothing", new.Name,
			"other values of %s mean \"none\"; the tokens of the rows that are there are made again", new.Name)
		p.step(phaseBackfill, ByRotation, "make the tokens of "+new.Name+", and what it shows, again", "")
	}
}

func (p *planner) addIndex(ix Index) {
	p.add("add_index", ix.Member.Name, "index %s of %s is added, and made for the rows that are there", ix.Kind,
		ix.Member.Name)
	p.prepare(p.alter("ADD COLUMN %s %s", quote(ix.TokenColumn(p.version)), tokenType))
	p.step(phaseBackfill, ByRotation,
		"make the tokens of "+ix.TokenColumn(p.version)+" in rows that have a sealed value and no token", "")
	p.judge([]Index{ix})
	p.makeIndexes([]Index{ix})
	p.hold([]check{tokenCheck(ix, p.version)})
	p.views("")
}

// release drops the CHECK of a column that new rows leave NULL, before they do.
func (p *planner) release(column string) {
	p.prepare(p.alter("DROP CONSTRAINT IF EXISTS %s", quote(column)))
}

func (p *planner) dropIndex(ix Index) {
	p.add("drop_index", ix.Member.Name, "index %s of %s is dropped; the sealed values stay", ix.Kind, ix.Member.Name)
	p.release(ix.TokenColumn(p.version))
	p.views(p.alter("DROP COLUMN %s", quote(ix.TokenColumn(p.version))))
}

func (p *planner) reveal(old, new *Member) {
	p.add("reveal", new.Name, "%s shows something else in clear", new.Name)
	if old.Protect.Reveal != "" {
		p.release(old.RevealColumn())
		p.views(p.alter("DROP COLUMN %s", quote(old.RevealColumn())))
		p.erase()
	}
	if new.Protect.Reveal != "" {
		p.prepare(p.addColumns(p.columnsOf(new, RoleReveal)))
		p.hold(slices.DeleteFunc(new.checks(p.version), func(c check) bool { return c.name != new.RevealColumn() }))
		p.step(phaseBackfill, ByRotation,
			"open "+new.Name+" in the rows that are there, and fill "+new.RevealColumn(), "")
		p.views("")
	}
}

// protect takes a member out of the clear. Until the daemons have read the definition, events still come in clear; from
// then on a row has the sealed value alone, so that the backfill ends.
func (p *planner) protect(old, new *Member) {
	p.add("protect", new.Name,
		"%s is sealed from now on, then in the rows that are there; its column in clear is dropped", new.Name)
	p.prepare(p.addColumns(p.columnsOf(new, RoleSealed, RoleReveal, RoleToken)))
	if old.Required {
		p.allowNull(old)
	}
	p.step(phaseBackfill, ByRotation,
		"seal "+new.Name+" in the rows that have it in clear, with its tokens, and set "+old.Name+" to NULL", "")
	p.judge(new.Indexes())
	p.makeIndexes(new.Indexes())
	p.hold(new.checks(p.version))
	p.step(phaseProve, ByOwner, "refuse to go on if a value is left in clear", p.noneLeft(old))
	for _, c := range old.clearColumns(0) {
		p.views(p.alter("DROP COLUMN %s", quote(c.Name)))
	}
	p.erase()
}

// erase takes what a dropped column held out of the statistics and out of the files.
func (p *planner) erase() {
	p.remain()
	table := qualified(p.new.Table)
	for _, s := range []Step{
		{By: ByOwner, Title: "gather the statistics of partitions and parent again", SQL: "ANALYZE " + table + ";\n",
			phase: phaseAnalyze},
		{By: ByOperator,
			Title: "write each partition again, one after the other, each locked meanwhile: dropped bytes stay in " +
				"the heap until then",
			SQL: "VACUUM (FULL, ANALYZE) " + table + ";\n", phase: phaseRewrite},
		{By: ByOperator,
			Title: "as a superuser, write the catalogue of statistics again: it held the most common values",
			SQL:   "VACUUM FULL pg_catalog.pg_statistic;\n", phase: phaseStatistics},
	} {
		s.Apart = true
		if !slices.ContainsFunc(p.steps, func(other Step) bool { return other.phase == s.phase }) {
			p.steps = append(p.steps, s)
		}
	}
}
