package direct

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// supported returns an error that names the first setting this package does not know. It looks at what a profile or the
// environment can set, not at what only code can, such as interceptors.
func supported(o sqs.Options) error {
	switch {
	case o.Credentials == nil:
		return errors.New("no credentials")
	case o.Region == "":
		return errors.New("no region")
	case o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled || strings.Contains(o.Region, "fips"):
		return errors.New("a FIPS endpoint")
	case o.EndpointOptions.DisableHTTPS:
		return errors.New("HTTPS is switched off")
	case o.RetryMode == aws.RetryModeAdaptive:
		return errors.New("the retry mode adaptive") // which also slows calls that go well
	case o.Retryer == nil:
		return errors.New("no retryer")
	}
	return nil
}

// endpointOf is where the SDK would send calls.
func endpointOf(o sqs.Options) (*url.URL, error) {
	dualStack := o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled
	resolved, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), sqs.EndpointParameters{
		Region: &o.Region, UseDualStack: &dualStack, Endpoint: o.BaseEndpoint,
	})
	if err != nil {
		return nil, errors.New("an endpoint that cannot be resolved") // the SDK says why, at the first call
	}
	u := resolved.URI
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "",
		u.User != nil, u.RawQuery != "", u.Fragment != "",
		u.Path != "" && u.Path != "/", !plain(u.Host), len(resolved.Headers) > 0:
		return nil, errors.New("an endpoint of an unusual form")
	}
	// Host is signed and sent; the scheme's own port is left out of both, as the SDK does.
	if port := map[string]string{"https": "443", "http": "80"}[u.Scheme]; u.Port() == port {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Path = "/"
	return &u, nil
}

// dialerOf makes connections as the SDK's HTTP client does: with its dialer and its timeouts, its TLS settings, and
// its root certificates, which AWS_CA_BUNDLE names. The peer's name is verified. A proxy is the SDK's: it would need
// CONNECT and credentials of its own.
func dialerOf(client sqs.HTTPClient, endpoint *url.URL) (func(context.Context) (net.Conn, error), error) {
	t, err := transportOf(client)
	if err != nil {
		return nil, err
	}
	if t.Proxy != nil {
		proxy, err := t.Proxy(&http.Request{Method: http.MethodPost, URL: endpoint, Header: http.Header{}})
		if proxy != nil || err != nil {
			return nil, errors.New("a proxy")
		}
	}
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	if endpoint.Scheme == "http" {
		address := addressOf(endpoint, "80")
		return func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", address) }, nil
	}
	address := addressOf(endpoint, "443")
	settings := t.TLSClientConfig.Clone()
	if settings == nil {
		settings = &tls.Config{}
	}
	if settings.ServerName == "" {
		settings.ServerName = endpoint.Hostname()
	}
	// Not h2: SQS speaks HTTP/1.1, and so does this package.
	settings.NextProtos = []string{"http/1.1"}
	return func(ctx context.Context) (net.Conn, error) {
		raw, err := dial(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		if t.TLSHandshakeTimeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, t.TLSHandshakeTimeout)
			defer cancel()
		}
		secured := tls.Client(raw, settings)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("tls handshake: %w", err)
		}
		return secured, nil
	}, nil
}

func addressOf(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// transportOf is the transport of a client that does nothing but use it. Of its settings those that this package cannot
// follow are refused; limits on connections and idle times are replaced by its own.
func transportOf(client sqs.HTTPClient) (*http.Transport, error) {
	var t *http.Transport
	switch c := client.(type) {
	case interface{ GetTransport() *http.Transport }: // the SDK's own
		t = c.GetTransport()
	case *http.Client:
		t, _ = c.Transport.(*http.Transport)
		if c.Jar != nil || c.Timeout != 0 {
			t = nil
		}
	}
	if t == nil || t.DialTLSContext != nil || t.DisableKeepAlives || t.ResponseHeaderTimeout != 0 || usesOldDial(t) {
		return nil, errors.New("an HTTP client of its own")
	}
	return t, nil
}

// usesOldDial reports the hooks that DialContext and DialTLSContext replaced.
func usesOldDial(t *http.Transport) bool {
	//lint:ignore SA1019 a transport may still have them, and who set them expects them to be used
	return t.Dial != nil || t.DialTLS != nil
}
