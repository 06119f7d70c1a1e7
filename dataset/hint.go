package dataset

// nearest suggests the key that was probably meant, or lists them all.
func nearest[T any](name string, keys []key[T]) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return nearestOf(name, names)
}

// nearestOf suggests the name that is at most two edits away, or lists them all.
func nearestOf(name string, names []string) string {
	best, least := "", 3
	list := "it is one of"
	for i, n := range names {
		if d := distance(name, n); d < least {
			best, least = n, d
		}
		if i > 0 {
			list += ","
		}
		list += " " + n
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return list
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
