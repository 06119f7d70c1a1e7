package awswire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a service whose operation Echo answers its request.
func echo() *Endpoint {
	return &Endpoint{
		TargetPrefix: "Test.", ContentType: "application/x-amz-json-1.0", Namespace: "test#", LegacyCodes: true, Faults: &Faults{},
		Do: func(ctx context.Context, c *Call) error {
			switch c.Op {
			case "Echo":
				c.Out = append(c.Out, c.Body...)
				return nil
			case "Wait":
				<-ctx.Done()
				return nil
			case "Decode":
				var v struct{ A string }
				return c.Decode(&v)
			}
			return errors.New("disk full")
		},
	}
}

func serve(t *testing.T, h http.Handler) (*Loopback, *http.Client) {
	t.Helper()
	var l Loopback
	if err := l.Start("", h); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &l, &http.Client{Transport: transport}
}

func call(t *testing.T, client *http.Client, url, target, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", target)
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func TestAnswers(t *testing.T) {
	l, client := serve(t, echo())
	for _, tc := range []struct {
		name, target, body string
		status             int
		want               string
	}{
		{"success", "Test.Echo", `{"a":1}`, 200, `{"a":1}`},
		{"no operation", "", "", 404, "test#UnknownOperationException"},
		{"another service", "Other.Echo", "", 404, "test#UnknownOperationException"},
		{"a failure of ours", "Test.Fail", "", 500, "test#InternalFailure"},
		{"not JSON", "Test.Decode", "{", 400, "test#SerializationException"},
		{"a duplicate member", "Test.Decode", `{"A":"","A":""}`, 400, "test#SerializationException"},
		{"not UTF-8", "Test.Decode", "{\"A\":\"\xff\"}", 400, "test#SerializationException"},
		{"an unknown member", "Test.Decode", `{"B":1}`, 200, ""},
		{"too large", "Test.Echo", strings.Repeat(" ", maxRequestBytes+1), 413, "test#RequestEntityTooLargeException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, text, err := call(t, client, l.URL(), tc.target, tc.body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status || !strings.Contains(text, tc.want) {
				t.Errorf("got %d %s, want %d %s", resp.StatusCode, text, tc.status, tc.want)
			}
			if resp.Header.Get("X-Amzn-Requestid") == "" {
				t.Error("no request id")
			}
			if legacy := resp.Header.Get("X-Amzn-Query-Error"); (legacy == "") != (tc.status == 200) {
				t.Errorf("x-amzn-query-error is %q", legacy)
			}
		})
	}
}

func TestFaultsBeforeAndAfterTheEffect(t *testing.T) {
	e := echo()
	var effects atomic.Int32
	e.Do = func(_ context.Context, c *Call) error { effects.Add(1); c.EncodeEmpty(); return nil }
	outcomes := make(chan string, 10)
	e.Observe = func(_ *Call, err error) { outcomes <- Outcome(err) }
	l, client := serve(t, e)
	for _, tc := range []struct {
		fault   Fault
		effects int32
		outcome string
	}{
		{Fault{Error: ErrServiceUnavailable}, 0, "ServiceUnavailable"},
		{Fault{Error: ErrServiceUnavailable, After: true}, 1, "ServiceUnavailable"},
		{Fault{Drop: true}, 0, "dropped"},
		{Fault{Drop: true, After: true}, 1, "dropped"},
		{Fault{Delay: time.Millisecond}, 1, "ok"},
	} {
		effects.Store(0)
		cancel := e.Faults.Inject(tc.fault)
		resp, _, err := call(t, client, l.URL(), "Test.Any", "{}")
		cancel()
		if tc.fault.Drop != (err != nil) {
			t.Errorf("%+v: got %v %v", tc.fault, resp, err)
		}
		if got := <-outcomes; got != tc.outcome || effects.Load() != tc.effects {
			t.Errorf("%+v: %d effects, outcome %s, want %d and %s", tc.fault, effects.Load(), got, tc.effects,
				tc.outcome)
		}
	}
}

func TestLoopbackComesBackAtTheSameAddress(t *testing.T) {
	l, client := serve(t, echo())
	url := l.URL()
	if err := l.Start("", echo()); err == nil {
		t.Error("starting twice succeeded")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := call(t, client, url, "Test.Echo", "x"); err == nil {
		t.Error("a closed server answers")
	}
	if err := l.Start("", echo()); err != nil {
		t.Fatal(err)
	}
	if _, text, err := call(t, client, url, "Test.Echo", "x"); err != nil || text != "x" {
		t.Errorf("after coming back: %q %v", text, err)
	}
}

func TestCloseEndsWaitingCalls(t *testing.T) {
	l, client := serve(t, echo())
	ended := make(chan error)
	go func() {
		_, _, err := call(t, client, l.URL(), "Test.Wait", "")
		ended <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the waiting call was answered, want a cut connection")
	}
}
