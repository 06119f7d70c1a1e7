package dataset_test

import (
	"slices"
	"strings"
	"testing"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
)

const small = `
dataset: parcel
table: parcels
subject: owner
members:
  - {name: owner, type: text, max: 10, required: true}
  - {name: firmware, type: version, max: 12}
  - name: serial
    type: text
    max: 20
    protect: {normalise: digits, pad: 16}
`

func TestParse(t *testing.T) {
	t.Parallel()
	d, err := dataset.Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if d.SubjectIndex() != 0 || len(d.Protected()) != 1 || d.Protected()[0].Name != "serial" {
		t.Errorf("%+v", d)
	}
	want := []string{"message_id", "create_date", "owner", "firmware", "firmware_text", "sealed_serial", "masked_serial_v3", "masked_serial_v4", "data_key"}
	if got := d.Columns([]uint32{3, 4}); !slices.Equal(got, want) {
		t.Errorf("columns %v, want %v", got, want)
	}
	if _, ok := d.Member("Serial"); ok {
		t.Error("a member was found under another spelling")
	}
}

func TestParseIsStrict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":               {"subject: owner", "subject: owner\ncolour: red", "field colour not found"},
		"unknown key of a member":   {"max: 20", "max: 20\n    unique: true", "field unique not found"},
		"unknown key of protection": {"pad: 16", "pad: 16, key: 1", "field key not found"},
		"key twice":                 {"subject: owner", "subject: owner\nsubject: serial", "already defined"},
		"not YAML":                  {"members:", "members: [", "parsing dataset"},
		"name with a quote":         {"name: serial", `name: "se\"rial"`, "not an identifier"},
		"name with a capital":       {"name: serial", "name: Serial", "not an identifier"},
		"name too long":             {"name: serial", "name: " + strings.Repeat("s", 41), "not an identifier"},
		"table that is no name":     {"table: parcels", "table: parcels;", "not an identifier"},
		"no dataset":                {"dataset: parcel", "", "not an identifier"},
		"member twice":              {"name: firmware", "name: owner", "stands twice"},
		"type":                      {"type: version", "type: integer", "neither text nor version"},
		"no type":                   {"    type: text\n", "", "neither text nor version"},
		"max 0":                     {"max: 20", "max: 0", "not between"},
		"max negative":              {"max: 20", "max: -1", "not between"},
		"max huge":                  {"max: 20", "max: 100001", "not between"},
		"max no number":             {"max: 20", "max: many", "cannot unmarshal"},
		"pad too small":             {"pad: 16", "pad: 8", "pad 8 is not between"},
		"pad too large":             {"pad: 16", "pad: 4097", "pad 4097 is not between"},
		"no normalisation":          {"normalise: digits, ", "", "normalise is not named"},
		"protected version":         {"type: version, max: 12", "type: version, max: 12, protect: {normalise: text, pad: 16}", "only a text member"},
		"no subject":                {"subject: owner", "", "the subject"},
		"subject that is no member": {"subject: owner", "subject: nobody", "the subject"},
		"protected subject":         {"subject: owner", "subject: serial", "the subject"},
		"version as subject":        {"subject: owner", "subject: firmware", "the subject"},
		"optional subject":          {", required: true", "", "the subject"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if text == small {
			t.Fatalf("%s: nothing was changed", name)
		}
		if d, err := dataset.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v and %v, want %q", name, d, err, c.want)
		}
	}
}

// Every normalisation that the login dataset names exists, and the sealed sizes do not tell addresses apart.
func TestLoginIsSound(t *testing.T) {
	t.Parallel()
	for _, m := range dataset.Login().Protected() {
		if _, err := blindindex.ParseTransform(m.Protect.Normalise); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	ip, ok := dataset.Login().Member("ip")
	// The longest spelling of an address, and the byte that ends the padding, fit one pad.
	if longest := len("0000:0000:0000:0000:0000:ffff:255.255.255.255"); !ok || ip.Protect.Pad < longest+1 {
		t.Errorf("pad %d, want more than %d", ip.Protect.Pad, longest)
	}
}
