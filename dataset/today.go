package dataset

// Columns lists the columns of a row as the vault of today loads it, in the order a row is written: message_id,
// create_date, clear columns, sealed columns, the tokens of exact indexes for each version, data_key.
func (d *Dataset) Columns(versions []uint32) []string {
	columns := []string{"message_id", "create_date"}
	for i := range d.Members {
		m := &d.Members[i]
		if m.Protect != nil {
			continue
		}
		columns = append(columns, m.Name)
		if m.Type == Version {
			columns = append(columns, m.TextColumn())
		}
	}
	for _, m := range d.Protected() {
		columns = append(columns, m.SealedColumn())
	}
	for _, v := range versions {
		for _, m := range d.Protected() {
			columns = append(columns, m.TokenColumn(v))
		}
	}
	return append(columns, "data_key")
}
