package cli

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// units are what a duration may be written in. Months and years are not among them: their length
// varies.
var units = map[string]time.Duration{
	"ms": time.Millisecond,
	"s":  time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day,
	"w": 7 * day, "week": 7 * day, "weeks": 7 * day,
}

const day = 24 * time.Hour

var (
	durationPart = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)\s*`)
	errNoUnit    = errors.New("it needs a unit: 30s, 10m, 24h or 90d")
)

// ParseDuration reads a duration of one or more numbers, each with a unit: 90s, 1h30m, 30 days. A
// unit is compulsory: "30" would be read as days by one person and as seconds by the next.
func ParseDuration(text string) (time.Duration, error) {
	rest, total := text, 0.0
	for rest != "" {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			if _, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				return 0, errNoUnit
			}
			return 0, notADuration(text)
		}
		unit, ok := units[strings.ToLower(part[2])]
		if !ok {
			return 0, fmt.Errorf("%q is not a unit: use s, m, h, d or w", part[2])
		}
		number, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, notADuration(text)
		}
		total += number * float64(unit)
		rest = rest[len(part[0]):]
	}
	if text == "" {
		return 0, errNoUnit
	}
	if total > math.MaxInt64/2 {
		return 0, errors.New("it is too long")
	}
	return time.Duration(total), nil
}

// notADuration says why a text is none. A negative one is mostly a slip, and is called what it is.
func notADuration(text string) error {
	if strings.HasPrefix(strings.TrimSpace(text), "-") {
		return errors.New("it is negative")
	}
	return errors.New("it is not a duration")
}

// FormatDuration writes a duration as ParseDuration reads it, without empty parts: 90d, 1h30m,
// 250ms.
func FormatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String() // 1h0m0s
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
