package rotation

// Reindexed is what a reindex did.
type Reindexed struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	Rows int64  `json:"rows"` // whose tokens this run made
}
