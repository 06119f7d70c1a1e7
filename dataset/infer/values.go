package infer

import (
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// hit is a form that a value has, or holds.
type hit int

const (
	hitEmail   hit = iota
	hitEmailIn     // within other text
	hitIP
	hitIPIn
	hitPhone  // written as one: +49 170 5550100
	hitDigits // 7 to 15 digits
	hitCard   // Luhn-valid, 13 to 19 digits, of a card network
	hitCardIn
	hitIBAN
	hitSecret
	hitMAC
	hitSSN // ddd-dd-dddd
	hitAgent
	hitName  // words with capitals
	hitPlace // latitude and longitude
	hitText  // four words or more
	hitLong  // eight characters or more
	hitJSON  // a JSON object within the text
	hitsEnd
)

// hits are the forms of one value, as bits.
type hits uint32

func (h *hits) add(x hit)     { *h |= 1 << x }
func (h hits) has(x hit) bool { return h&(1<<x) != 0 }

var (
	// An e-mail address as people have them: RFC 5321 without quoted local parts. The domain has a point.
	emailForm = `[\pL\pN.!#$%&'*+/=?^_{|}~-]{1,64}@(?:[\pL\pN](?:[\pL\pN-]{0,61}[\pL\pN])?\.)+[\pL]{2,24}`
	isEmail   = regexp.MustCompile(`^` + emailForm + `$`)
	hasEmail  = regexp.MustCompile(emailForm)
	// Chrome/120.0.0.0 is a version.
	hasIPv4 = regexp.MustCompile(`(?:^|[^\d./]|//)((?:\d{1,3}\.){3}\d{1,3})(?:$|[^\d.]|\.(?:\D|$))`)
	hasIPv6 = regexp.MustCompile(`(?i)(?:^|[^0-9a-z:.])((?:[0-9a-f]{0,4}:){2,7}[0-9a-f.]{0,15})`)
	// 00012345, 01.02.2026 and 0.5 are no phone numbers.
	isPhone = regexp.MustCompile(`^\+[\d\s()./-]+$|^(?:00|\(?0)\d+\)?[\s/-][\d\s()/-]*$|^\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}$`)
	isDay   = regexp.MustCompile(`^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}$`)
	hasCard = regexp.MustCompile(`(?:^|\D)(\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4})(?:\D|$)`)
	isIBAN  = regexp.MustCompile(`^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$`)
	isMAC   = regexp.MustCompile(`(?i)^[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}$`)
	isSSN   = regexp.MustCompile(`^\d{3}-\d{2}-\d{4}$`)
	isAgent = regexp.MustCompile(`^(?:Mozilla|Opera|Dalvik|curl|okhttp|python-requests|Go-http-client|PostmanRuntime|` +
		`Wget|Apache-HttpClient|axios|CFNetwork)/\d|^[\w.-]{2,40}/[\d.]+ \([^)]+\)`)
	isName  = regexp.MustCompile(`^\p{Lu}[\p{L}'’.-]+(?: (?:van|von|de|der|den|la|el|al|bin|da|di|du|y|zu|\p{Lu}[\p{L}'’.-]*)){1,4}$`)
	isPlace = regexp.MustCompile(`^-?\d{1,2}\.\d{3,}\s*[,; ]\s*-?\d{1,3}\.\d{3,}$`)
	// Forms of keys and tokens that their makers publish, so that scanners find them.
	hasSecret = regexp.MustCompile(`\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|` +
		`\bgh[pousr]_\w{30,}|\bgithub_pat_\w{30,}|\bxox[abeoprs]-[\w-]{10,}|\b[sr]k_live_\w{16,}|\bAIza[\w-]{35}|\bglpat-[\w-]{20}|` +
		`\bya29\.[\w-]{20,}|(?i:\b(?:bearer|basic) [\w.~+/-]{16,}=*)|(?i:[?&](?:access_token|token|api_key|password|sig|signature)=)|` +
		`\$2[aby]\$\d\d\$[./\w]{53}`)
)

// longest is how much of a value is looked at, in bytes: what is personal in a long text rarely stands behind it.
const longest = 16 << 10

// inspect finds the forms of a value. It tries nothing that a quick look rules out.
func inspect(text string) (found hits) {
	if len(text) > longest {
		text = text[:longest]
	}
	text = strings.TrimSpace(text)
	digits, others, at, colons, dots, spaces := look(text)
	if utf8.RuneCountInString(text) >= 8 {
		found.add(hitLong)
	}
	if len(text) > 2 && text[0] == '{' && jsontext.Value(text).IsValid() {
		found.add(hitJSON)
	}
	if at > 0 {
		if isEmail.MatchString(text) {
			found.add(hitEmail)
		} else if hasEmail.MatchString(text) {
			found.add(hitEmailIn)
		}
	}
	if dots >= 3 || colons >= 7 || strings.Contains(text, "::") {
		inspectAddress(text, &found)
	}
	if digits >= 7 && digits <= 15 && others == 0 {
		found.add(hitDigits)
		if isPhone.MatchString(text) && !isDay.MatchString(text) {
			found.add(hitPhone)
		}
	}
	if digits >= 13 {
		inspectCard(text, digits, others, &found)
	}
	if digits == 9 && others == 0 && isSSN.MatchString(text) {
		found.add(hitSSN)
	}
	if len(text) >= 15 && len(text) <= 48 {
		if iban := strings.ToUpper(strings.ReplaceAll(text, " ", "")); isIBAN.MatchString(iban) && validIBAN(iban) {
			found.add(hitIBAN)
		}
	}
	if len(text) == 17 && isMAC.MatchString(text) {
		found.add(hitMAC)
	}
	if len(text) >= 12 && mayHoldSecret(text) && hasSecret.MatchString(text) {
		found.add(hitSecret)
	}
	if spaces >= 3 {
		found.add(hitText)
	}
	if spaces >= 1 && spaces <= 4 && digits == 0 && len(text) <= 80 && isName.MatchString(text) {
		found.add(hitName)
	}
	if digits >= 8 && dots == 2 && isPlace.MatchString(text) {
		found.add(hitPlace)
	}
	if len(text) >= 8 && isAgent.MatchString(text) {
		found.add(hitAgent)
	}
	return found
}

// secretParts are parts of what hasSecret finds, in lower case: a search for them is quicker than the expression.
var secretParts = strings.Fields("eyj akia asia private gh github_pat xox k_live_ aiza glpat- ya29. bearer basic = $2")

func mayHoldSecret(text string) bool {
	lower := strings.ToLower(text)
	for _, part := range secretParts {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return false
}

// look counts characters: ASCII digits; what is neither digit nor usual in a number; and some that forms need.
func look(text string) (digits, others, at, colons, dots, spaces int) {
	for _, r := range text {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '@':
			at++
			others++
		case r == ':':
			colons++
			others++
		case r == '.':
			dots++
		case unicode.IsSpace(r):
			spaces++
		case !strings.ContainsRune("+-()/", r):
			others++
		}
	}
	return
}

func inspectAddress(text string, found *hits) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		found.add(hitIP)
		return
	}
	for _, form := range []*regexp.Regexp{hasIPv4, hasIPv6} {
		for _, m := range form.FindAllStringSubmatch(text, 20) {
			// A time of day, 10:00:00, has the form of the second, and is no address.
			if addr, err := netip.ParseAddr(strings.Trim(m[1], ".")); err == nil && addr.IsValid() {
				found.add(hitIPIn)
				return
			}
		}
	}
}

// inspectCard looks for ISO/IEC 7812 numbers.
func inspectCard(text string, digits, others int, found *hits) {
	if digits <= 19 && others == 0 && validCard(text) {
		found.add(hitCard)
		return
	}
	for _, m := range hasCard.FindAllStringSubmatch(text, 20) {
		if validCard(m[1]) {
			found.add(hitCardIn)
			return
		}
	}
}

// validCard wants the first digit of a card network, 2 to 6, and the check digit of Luhn. One number of ten passes the
// second by chance.
func validCard(text string) bool {
	sum, n := 0, 0
	for i := len(text) - 1; i >= 0; i-- {
		c := text[i]
		if c < '0' || c > '9' {
			continue
		}
		d := int(c - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	first := strings.TrimLeft(text, " +-(./")
	return n >= 13 && n <= 19 && sum%10 == 0 && first != "" && first[0] >= '2' && first[0] <= '6'
}

// validIBAN checks the two digits of ISO 13616: the number, rearranged, is 1 modulo 97.
func validIBAN(text string) bool {
	var digits strings.Builder
	for _, c := range text[4:] + text[:4] {
		if c >= 'A' {
			digits.WriteString(big.NewInt(int64(c - 'A' + 10)).String())
		} else {
			digits.WriteRune(c)
		}
	}
	n, ok := new(big.Int).SetString(digits.String(), 10)
	return ok && new(big.Int).Mod(n, big.NewInt(97)).Int64() == 1
}

// noValues are how people write that there is no value, in lower case.
var noValues = noneWords()

func noneWords() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("- -- --- . ? ?? n/a n.a. na #n/a none null nil nan undefined unknown unspecified " +
		"missing empty anonymous default dummy test xxx x keine keiner unbekannt leer ohne entfällt desconocido ninguno " +
		"inconnu aucun sconosciuto onbekend geen brak k.a. k.a s.d. 0.0.0.0 :: 00:00:00:00:00:00 1900-01-01 1970-01-01 0000-00-00 " +
		"0001-01-01 00000000-0000-0000-0000-000000000000 [removed] [redacted] (none) (null) <none> <null> <unknown>") {
		out[w] = true
	}
	for _, w := range []string{"not available", "not provided", "not set", "no email", "no phone", "keine angabe",
		"sin datos", "non renseigné", "not applicable"} {
		out[w] = true
	}
	return out
}

var noEmail = regexp.MustCompile(`^(?:none|no|na|null|nobody|noemail|no-email|nomail|noreply|no-reply|unknown|test|email|user|` +
	`example|anonymous)@(?:example\.(?:com|org|net)|(?:[a-z]+\.)?(?:invalid|test|example)|test\.com|domain\.com|none\.com|` +
	`email\.com|none|localhost)$`)

// meansNone reports whether a value obviously stands for none. It is then no secret, and may be quoted.
func meansNone(text string) bool {
	if len(text) > 40 || text == "" {
		return false
	}
	lower := strings.ToLower(strings.TrimSpace(text))
	if noValues[lower] || noEmail.MatchString(lower) {
		return true
	}
	zeros := strings.Trim(lower, "0")
	return len(lower) >= 4 && strings.Trim(zeros, "+-() /") == "" && strings.Count(lower, "0") >= 4
}
