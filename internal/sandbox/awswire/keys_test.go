package awswire

import "testing"

func TestParseAuthorization(t *testing.T) {
	const good = "AWS4-HMAC-SHA256 Credential=AKID/20260704/eu-west-1/kms/aws4_request, SignedHeaders=host;x-amz-date, Signature=00ff"
	a, ok := parseAuthorization(good)
	want := authorization{
		accessKey:     "AKID",
		date:          "20260704",
		region:        "eu-west-1",
		service:       "kms",
		signedHeaders: "host;x-amz-date",
		signature:     "00ff",
	}
	if !ok || a != want {
		t.Errorf("got %+v %v, want %+v", a, ok, want)
	}
	for _, bad := range []string{
		"",
		"Bearer AKID",
		"AWS4-HMAC-SHA256",
		"AWS4-HMAC-SHA256 Credential=AKID",
		"AWS4-HMAC-SHA256 Credential=/20260704/eu-west-1/kms/aws4_request",
		"AWS4-HMAC-SHA256 Credential=AKID/20260704/eu-west-1/kms/aws5_request",
		"AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00",
	} {
		if a, ok := parseAuthorization(bad); ok {
			t.Errorf("%q: got %+v, want none", bad, a)
		}
	}
}
