package direct_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloakroom/internal/sandbox/sqsserver"
)

// failing are credentials that cannot be had.
type failing struct{}

func (failing) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("no login")
}

func write(w net.Conn, text string) bool {
	_, err := io.WriteString(w, text)
	return err == nil
}

func TestConnectionsAreKept(t *testing.T) {
	s := serve(t, func(w net.Conn, _ int) bool { return write(w, plainAnswer(oneMessage)) })
	c := open(t, options(t, s.url, nil))
	for range 5 {
		if got, _, err := c.Receive(t.Context(), 0, time.Second); err != nil || len(got) != 1 {
			t.Fatalf("%d messages: %v", len(got), err)
		}
	}
	if n, conns := s.counts(); n != 5 || conns != 1 {
		t.Errorf("%d requests over %d connections, want 5 over 1", n, conns)
	}
	c.CloseIdle()
	if _, _, err := c.Receive(t.Context(), 0, time.Second); err != nil {
		t.Error(err)
	}
	if _, conns := s.counts(); conns != 2 {
		t.Errorf("%d connections, want a second one", conns)
	}
}

// A kept connection that the server closed is replaced, once and at once. The message is received.
func TestClosedBetweenRequests(t *testing.T) {
	for what, last := range map[string]string{
		"silently":   "",
		"with a 408": "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t, func(w net.Conn, _ int) bool {
				write(w, plainAnswer(oneMessage))
				if last != "" {
					time.Sleep(5 * time.Millisecond) // the answer is read and the connection kept
					write(w, last)
				}
				return false
			})
			c := open(t, options(t, s.url, nil))
			for range 3 {
				if got, _, err := c.Receive(t.Context(), 0, time.Second); err != nil || len(got) != 1 {
					t.Fatalf("%d messages: %v", len(got), err)
				}
				time.Sleep(20 * time.Millisecond) // the close arrives
			}
			if n, conns := s.counts(); n != 3 || conns != 3 {
				t.Errorf("%d requests over %d connections, want 3 over 3", n, conns)
			}
		})
	}
}

// Once a byte of the answer has come, or on a new connection, nothing is sent again without the SDK's say.
func TestNoSecondAttempt(t *testing.T) {
	s := serve(t, func(w net.Conn, n int) bool {
		if n == 1 {
			write(w, "H")
			return false
		}
		return n == 0 && write(w, plainAnswer(oneMessage))
	})
	c := open(t, options(t, s.url, nil))
	for i, over := range []bool{false, true, true} {
		if _, _, err := c.Receive(t.Context(), 0, time.Second); handedOver(err) != over {
			t.Fatalf("call %d: %v", i, err)
		}
		if n, _ := s.counts(); n != i+1 {
			t.Errorf("%d requests after %d calls", n, i+1)
		}
	}
}

// What comes after an answer is not taken for the next one.
func TestUnsolicitedAnswers(t *testing.T) {
	other := strings.Replace(oneMessage, `"m"`, `"evil"`, 1)
	s := serve(t, func(w net.Conn, _ int) bool { return write(w, plainAnswer(oneMessage)+plainAnswer(other)) })
	c := open(t, options(t, s.url, nil))
	for range 3 {
		if got, _, err := c.Receive(t.Context(), 0, time.Second); err != nil || got[0].ID != "m" {
			t.Errorf("received %+v: %v", got, err)
		}
	}
}

// Bytes may come one by one, and a connection that says "close" is closed.
func TestSlowServer(t *testing.T) {
	s := serve(t, func(w net.Conn, _ int) bool {
		for _, b := range []byte(strings.Replace(plainAnswer(oneMessage), "\r\n", "\r\nConnection: close\r\n", 1)) {
			if !write(w, string(rune(b))) {
				return false
			}
			time.Sleep(100 * time.Microsecond)
		}
		return true
	})
	c := open(t, options(t, s.url, nil))
	for range 2 {
		if got, _, err := c.Receive(t.Context(), 0, time.Second); err != nil || len(got) != 1 || string(got[0].Body) != "1" {
			t.Fatalf("received %+v: %v", got, err)
		}
	}
	if _, conns := s.counts(); conns != 2 {
		t.Errorf("%d connections, want 2", conns)
	}
}

// A poll ends when its context does: before an answer, within one, and while connecting.
func TestCancel(t *testing.T) {
	for what, begin := range map[string]string{"before": "", "within": plainAnswer(oneMessage)[:170]} {
		s := serve(t, func(w net.Conn, _ int) bool { return write(w, begin) })
		c := open(t, options(t, s.url, nil))
		for want, end := range map[error]func() (context.Context, context.CancelFunc){
			context.Canceled: func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
				return ctx, cancel
			},
			context.DeadlineExceeded: func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 100*time.Millisecond)
			},
		} {
			ctx, cancel := end()
			began := time.Now()
			_, _, err := c.Receive(ctx, 20*time.Second, time.Second)
			cancel()
			if took := time.Since(began); !errors.Is(err, want) || handedOver(err) || took > 2*time.Second {
				t.Errorf("%s: ended after %v: %v", what, took, err)
			}
		}
		if n, conns := s.counts(); n != conns {
			t.Errorf("%s: %d requests over %d connections: one that was cut off was used again", what, n, conns)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hangs := func(o *sqs.Options) {
		o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
	}
	_, _, err := open(t, options(t, "http://sqs.test", hangs)).Receive(ctx, 0, time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || handedOver(err) {
		t.Errorf("while connecting: %v", err)
	}
}

// TLS is verified with the roots and the name that the SDK would use.
func TestTLS(t *testing.T) {
	server := sqsserver.New(sqsserver.Config{})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.CreateQueue("logins", nil); err != nil {
		t.Fatal(err)
	}
	secured := httptest.NewUnstartedServer(server)
	secured.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the client ends
	secured.StartTLS()
	defer secured.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secured.Certificate())
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, secured.Listener.Addr().String())
	}
	for what, c := range map[string]struct {
		host  string
		roots *x509.CertPool
		fails string
	}{
		"its name":     {"example.com", roots, ""}, // httptest's certificate is for this name
		"another name": {"sqs.us-east-1.amazonaws.com", roots, "sqs.us-east-1.amazonaws.com"},
		"another root": {"example.com", nil, "unknown authority"},
	} {
		t.Run(what, func(t *testing.T) {
			o := options(t, "https://"+c.host, func(o *sqs.Options) {
				o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
					t.Proxy, t.DialContext = nil, dial
					t.TLSClientConfig = &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12}
				})
			})
			client := open(t, o)
			for range 2 {
				_, _, err := client.Receive(t.Context(), 0, time.Second)
				if c.fails == "" && err != nil || c.fails != "" && (!handedOver(err) || !strings.Contains(err.Error(), c.fails)) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// The server verifies every signature: with a session token and without one, and not that of another secret.
func TestSignatures(t *testing.T) {
	server := sqsserver.New(sqsserver.Config{Secrets: map[string]string{"ingest": secret}})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.CreateQueue("logins", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what        string
		credentials aws.Credentials
		good        bool
	}{
		{"with a token", aws.Credentials{AccessKeyID: "ingest", SecretAccessKey: secret, SessionToken: token}, true},
		{"without a token", aws.Credentials{AccessKeyID: "ingest", SecretAccessKey: secret}, true},
		{"another secret", aws.Credentials{AccessKeyID: "ingest", SecretAccessKey: secret + "!"}, false},
	} {
		if err := server.Put("logins", sqsserver.Message{Body: "1"}); err != nil {
			t.Fatal(err)
		}
		o := options(t, server.URL(), func(o *sqs.Options) { o.Credentials = &changing{c.credentials} })
		client := open(t, o)
		got, _, err := client.Receive(t.Context(), 0, time.Second)
		if (err == nil) != c.good || c.good && len(got) != 1 {
			t.Errorf("%s: received %d: %v", c.what, len(got), err)
		}
		if len(got) == 1 {
			if err := client.DeleteBatch(t.Context(), []string{got[0].Handle}); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
	}
	if c := server.Counts("logins"); c.Total() != 1 {
		t.Errorf("the queue counts %+v, want the one that nobody might receive", c)
	}
}
