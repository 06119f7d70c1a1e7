package dataset

import (
	"fmt"
	"slices"
)

// Role says what a column of a row table holds.
type Role string

// The roles of columns.
const (
	RoleSent    Role = "sent"    // when the event was: the dataset's time, or the delivery's
	RoleRow     Role = "row"     // the row's id
	RoleDate    Role = "date"    // the UTC day of sent, which the row's partition holds
	RoleMessage Role = "message" // the delivery's id, where the dataset has an id of its own
	RoleSending Role = "sending" // when the delivery was sent, where the dataset has a time of its own
	RoleClear   Role = "clear"   // a member in clear
	RoleText    Role = "text"    // a version's text as it was sent
	RoleSealed  Role = "sealed"  // a member, sealed
	RoleReveal  Role = "reveal"  // what a protected member shows
	RoleToken   Role = "token"   // a member's token
	RoleKey     Role = "key"     // the id of the data key that sealed the row
)

// Column is one column of a row table. What a column is, is read here and never from its name.
type Column struct {
	Name    string
	Type    string // as SQL writes it
	NotNull bool
	Role    Role
	Member  int    // position of the member, or -1
	Index   int    // of a token: position among Dataset.Indexes, else -1
	Version uint32 // of a token: the index key's
}

// tokenType is the type of a token. C is the collation by which bytes are compared: tokens have no language, and
// equality and order are several times quicker.
const tokenType = `varchar(256) COLLATE "C"`

// TableColumns lists the columns of the row table in the order in which a row is written, with tokens for each
// version of the index key, oldest first.
func (d *Dataset) TableColumns(versions []uint32) []Column {
	columns := []Column{
		{Name: "sent", Type: "timestamptz", NotNull: true, Role: RoleSent, Member: -1},
		{Name: "row_id", Type: "uuid", NotNull: true, Role: RoleRow, Member: -1},
		{Name: "create_date", Type: "date", NotNull: true, Role: RoleDate, Member: -1},
	}
	if d.ID != "" {
		columns = append(columns, Column{Name: "message_id", Type: "uuid", NotNull: true, Role: RoleMessage,
			Member: -1})
	}
	if d.Time != "" {
		columns = append(columns, Column{Name: "message_sent", Type: "timestamptz", NotNull: true, Role: RoleSending,
			Member: -1})
	}
	for i := range d.Members {
		if d.Members[i].Protect == nil {
			columns = append(columns, d.Members[i].clearColumns(i)...)
		}
	}
	for i := range d.Members {
		if m := &d.Members[i]; m.Protect != nil {
			columns = append(columns, Column{Name: m.SealedColumn(), Type: "bytea", Role: RoleSealed, Member: i})
		}
	}
	for i := range d.Members {
		if m := &d.Members[i]; m.Protect != nil && m.Protect.Reveal != "" {
			columns = append(columns, Column{Name: m.RevealColumn(), Type: m.revealType(), Role: RoleReveal, Member: i})
		}
	}
	for i := range columns {
		columns[i].Index = -1
	}
	for _, v := range versions {
		columns = append(columns, d.tokenColumns(v)...)
	}
	return append(columns, Column{Name: "data_key", Type: "integer", Role: RoleKey, Member: -1, Index: -1})
}

func (d *Dataset) tokenColumns(version uint32) []Column {
	var columns []Column
	for i, ix := range d.Indexes() {
		columns = append(columns, Column{
			Name: ix.TokenColumn(version), Type: tokenType, Role: RoleToken, Member: d.index(ix.Member.Name),
			Index: i, Version: version,
		})
	}
	return columns
}

// clearColumns are the columns of a member in clear: one, or two for a version.
func (m *Member) clearColumns(at int) []Column {
	column := Column{Name: m.Name, Type: m.sqlType(), NotNull: m.Required, Role: RoleClear, Member: at, Index: -1}
	if m.Type != Version {
		return []Column{column}
	}
	text := Column{Name: m.TextColumn(), Type: fmt.Sprintf("varchar(%d)", m.Max), NotNull: m.Required, Role: RoleText,
		Member: at, Index: -1}
	return []Column{column, text}
}

func (m *Member) sqlType() string {
	switch m.Type {
	case Text:
		return fmt.Sprintf("varchar(%d)", m.Max)
	case Integer:
		return "bigint"
	case Decimal:
		return fmt.Sprintf("numeric(%d,%d)", m.Precision, m.Scale)
	case Timestamp:
		return "timestamptz"
	case IP:
		return "inet"
	case JSON:
		return "jsonb"
	case Version:
		return "integer"
	}
	return string(m.Type) // boolean, date and uuid are SQL's own words
}

func (m *Member) revealType() string {
	if m.Protect.Reveal == revealNetwork {
		return "cidr"
	}
	return "text"
}

// viewColumn is a column of the analysts' view and what it shows of the table.
type viewColumn struct{ name, of string }

// viewColumns are the members in the order of the definition, then the date. A member that reveals something shows that
// behind its tokens; one that is sealed alone shows nothing.
func (d *Dataset) viewColumns(version uint32) []viewColumn {
	var columns []viewColumn
	for i := range d.Members {
		m := &d.Members[i]
		if m.Protect == nil {
			columns = append(columns, viewColumn{m.Name, m.Name})
			continue
		}
		for _, ix := range m.Indexes() {
			columns = append(columns, viewColumn{ix.ViewColumn(), ix.TokenColumn(version)})
		}
		if m.Protect.Reveal != "" {
			columns = append(columns, viewColumn{m.RevealColumn(), m.RevealColumn()})
		}
	}
	return append(columns, viewColumn{"create_date", "create_date"})
}

// ViewColumns are the names of the analysts' view's columns, in order.
func (d *Dataset) ViewColumns() []string {
	var names []string
	for _, c := range d.viewColumns(1) {
		names = append(names, c.name)
	}
	return names
}

// DuplicatesColumns are the columns of the view of duplicates, the same for every dataset.
func DuplicatesColumns() []string {
	return slices.Clone([]string{"field", "index", "token", "rows", "subjects", "first_date", "last_date"})
}
