package leakage

import (
	"crypto/rand"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
)

// Domain is all values that an index can have, or all that somebody would try who holds the index key.
type Domain struct {
	Size float64 // how many; more than can ever be tried: +Inf
	Text string  // what is tried
}

// How many there are of what nobody can list from its form alone. Sources: Verisign's Domain Name Industry Brief (364
// million names registered in 2024); Have I Been Pwned (15 billion leaked accounts in 2024).
const (
	domainNames = 4e8
	guesses     = 1.5e10
)

// maxDigits is the most digits of a number that is dialled (ITU-T E.164).
const maxDigits = 15

// DomainOf says what somebody with the index key has to try to find every value of an index.
func DomainOf(ix dataset.Index) Domain {
	m := ix.Member
	kind, number, _ := strings.Cut(ix.Kind, "/")
	size, _ := strconv.Atoi(number)
	switch {
	case len(m.Enum) > 0:
		return Domain{float64(len(m.Enum)), "the values listed in the dataset"}
	case kind == "domain":
		return Domain{domainNames, "all registered domain names"}
	case m.Type == dataset.IP && kind == "prefix":
		return Domain{math.Exp2(float64(size)), fmt.Sprintf("all IPv4 networks /%d", size)}
	case m.Type == dataset.IP:
		return Domain{math.Exp2(32), "all IPv4 addresses"}
	case kind == "last" || kind == "prefix":
		return ofCharacters(m, size)
	}
	return whole(m)
}

func ofCharacters(m *dataset.Member, n int) Domain {
	if onlyDigits(m) {
		return Domain{math.Pow(10, float64(n)), fmt.Sprintf("all of %d digits", n)}
	}
	// Letters and digits without case.
	return Domain{math.Pow(36, float64(n)), fmt.Sprintf("all of %d letters and digits", n)}
}

func onlyDigits(m *dataset.Member) bool {
	for _, step := range m.Protect.Normalise {
		if step == string(blindindex.Digits) {
			return true
		}
	}
	return false
}

// whole is the domain of an exact index.
func whole(m *dataset.Member) Domain {
	switch m.Type {
	case dataset.Boolean:
		return Domain{2, "true and false"}
	case dataset.UUID:
		return Domain{math.Inf(1), "122 random bits"}
	case dataset.Date:
		return bounded(m, 365.25*100, "all days of a hundred years", 86400)
	case dataset.Timestamp:
		return bounded(m, 365.25*10*86400, "all seconds of ten years", 1)
	case dataset.Integer:
		return bounded(m, 1e10, "all numbers of ten digits", 1)
	case dataset.Decimal:
		n := float64(min(m.Precision, maxDigits))
		return Domain{math.Pow(10, n), fmt.Sprintf("all numbers of %v digits", n)}
	case dataset.Version:
		return Domain{1e6, "all versions of three numbers below 100"}
	}
	if onlyDigits(m) {
		n := min(m.Max, maxDigits)
		return Domain{math.Pow(10, float64(n)), fmt.Sprintf("all numbers of %d digits", n)}
	}
	return Domain{guesses, "a list of 15 billion guesses; no list has all"}
}

// bounded is the number of values between a member's bounds, unit by unit in seconds for a time; without both bounds,
// what is usual.
func bounded(m *dataset.Member, usual float64, text string, unit float64) Domain {
	between := Domain{Text: "all between min and max"}
	if m.Type == dataset.Integer {
		least, err1 := strconv.ParseFloat(m.Least, 64)
		most, err2 := strconv.ParseFloat(m.Most, 64)
		if err1 == nil && err2 == nil {
			between.Size = most - least + 1
			return between
		}
		return Domain{usual, text}
	}
	layout := time.RFC3339Nano
	if m.Type == dataset.Date {
		layout = time.DateOnly
	}
	least, err1 := time.Parse(layout, m.Least)
	most, err2 := time.Parse(layout, m.Most)
	if err1 == nil && err2 == nil {
		between.Size = most.Sub(least).Seconds()/unit + 1
		return between
	}
	return Domain{usual, text}
}

// Seconds is how long all of it takes at a number of tokens a second.
func (d Domain) Seconds(rate float64) float64 { return d.Size / rate }

// tooLong is in seconds: a hundred years of one core.
const tooLong = 100 * 365.25 * 86400

// Never reports that a domain is too large to be tried at that rate, by a hundred years of one core.
func (d Domain) Never(rate float64) bool { return d.Seconds(rate) > tooLong }

// TokenRate measures how many tokens a second one core of this machine makes, for about as long as d.
func TokenRate(d time.Duration) (float64, error) {
	key := make([]byte, blindindex.KeySize)
	rand.Read(key) //nolint:errcheck // it never fails
	subkey, err := blindindex.Derive(key, "rate", "rate", blindindex.Trim, 1)
	if err != nil {
		return 0, err
	}
	defer subkey.Destroy()
	hasher := subkey.NewHasher()
	var token, value []byte
	n, began := 0, time.Now()
	for time.Since(began) < d {
		for range 1000 {
			n++
			value = strconv.AppendInt(value[:0], int64(n), 10)
			if token, err = hasher.AppendToken(token[:0], string(value)); err != nil {
				return 0, err
			}
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
