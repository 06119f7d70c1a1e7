package direct_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloakroom/internal/queue/direct"
)

// What this package does not know is left to the SDK from the start.
func TestUnknownSettings(t *testing.T) {
	transport := func(set func(*http.Transport)) func(*sqs.Options) {
		return func(o *sqs.Options) {
			o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
				t.Proxy = nil
				set(t)
			})
		}
	}
	for want, set := range map[string]func(*sqs.Options){
		"no credentials": func(o *sqs.Options) { o.Credentials = nil },
		"FIPS endpoint":  func(o *sqs.Options) { o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled },
		"a FIPS":         func(o *sqs.Options) { o.Region = "fips-us-gov-west-1" },
		"HTTPS":          func(o *sqs.Options) { o.EndpointOptions.DisableHTTPS = true },
		"adaptive":       func(o *sqs.Options) { o.RetryMode = aws.RetryModeAdaptive },
		"no region":      func(o *sqs.Options) { o.Region, o.BaseEndpoint = "", nil },
		"resolved":       func(o *sqs.Options) { o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled },
		"unusual form":   func(o *sqs.Options) { o.BaseEndpoint = aws.String("https://sqs.test/path") },
		"unusual":        func(o *sqs.Options) { o.BaseEndpoint = aws.String("ftp://sqs.test") },
		"of an unusual":  func(o *sqs.Options) { o.BaseEndpoint = aws.String("https://user:password@sqs.test") },
		"a signer":       func(o *sqs.Options) { o.HTTPSignerV4 = nil },
		"a proxy": transport(func(t *http.Transport) {
			t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test:3128"})
		}),
		"an HTTP client": func(o *sqs.Options) { o.HTTPClient = &capture{} },
		"HTTP client":    func(o *sqs.Options) { o.HTTPClient = &http.Client{Timeout: time.Second, Transport: &http.Transport{}} },
		"client of":      transport(func(t *http.Transport) { t.DisableKeepAlives = true }),
		"client of its":  transport(func(t *http.Transport) { t.ResponseHeaderTimeout = time.Second }),
		//lint:ignore SA1019 the test is that a client with the old hook is refused
		"client of its o": transport(func(t *http.Transport) { t.DialTLS = (&tls.Dialer{}).Dial }),
	} {
		o := options(t, "https://sqs.test", nil)
		set(&o)
		if _, err := direct.New(o, queueURL); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		} else if strings.Contains(err.Error(), "password") {
			t.Errorf("it tells the endpoint: %v", err)
		}
	}
	for _, region := range []string{"us-east-1", "cn-north-1", "us-gov-west-1"} {
		o := options(t, "", func(o *sqs.Options) { o.BaseEndpoint, o.Region = nil, region })
		if _, err := direct.New(o, queueURL); err != nil {
			t.Errorf("%s: %v", region, err)
		}
	}
}
