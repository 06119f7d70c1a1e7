package dataset

// parseVersion reads MAJOR[.MINOR[.PATCH]] as major*1_000_000 + minor*1_000 + patch, so that integers order as
// versions do: 2.10 is 2010000 and 2.1 is 2001000. A missing part is 0. Limits: major 2146, minor and patch 999.
func parseVersion(text []byte) (int32, bool) {
	var parts [3]int32
	part, digits := 0, 0
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9' && digits < 4:
			parts[part] = parts[part]*10 + int32(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 2:
			part, digits = part+1, 0
		default:
			return 0, false
		}
	}
	if digits == 0 || parts[0] > 2146 || parts[1] > 999 || parts[2] > 999 {
		return 0, false
	}
	return parts[0]*1_000_000 + parts[1]*1_000 + parts[2], true
}
