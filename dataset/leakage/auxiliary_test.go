package leakage_test

import (
	"slices"
	"strings"
	"testing"

	"cloakroom/dataset/leakage"
)

func TestAuxiliary(t *testing.T) {
	want := []leakage.Public{{Value: "a,b", Count: 7}, {Value: "c", Count: 1}}
	for name, text := range map[string]string{
		"csv":        "rank,value,count\n1,\"a,b\",7\n2,c,1\n",
		"JSON Lines": `{"value":"a,b","count":7}` + "\n\n" + `{"value":"c","count":1}`,
	} {
		if got, err := leakage.ReadAuxiliary(strings.NewReader(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	// Values that have one token are added up: two such counts would be less than nothing.
	for _, count := range []string{"9223372036854775807", "0", "-1", "many"} {
		for name, text := range map[string]string{
			"csv": "value,count\nc,1\nsam@example.com," + count + "\n",
			"JSON Lines": `{"value":"c","count":1}` + "\n" +
				`{"value":"sam@example.com","count":` + count + `}`,
		} {
			_, err := leakage.ReadAuxiliary(strings.NewReader(text))
			if err == nil || strings.Contains(err.Error(), "sam") {
				t.Errorf("%s with the count %s: %v", name, count, err)
			}
		}
	}
}
