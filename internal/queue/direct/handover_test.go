package direct_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloakroom/internal/queue/direct"
)

// answered is a raw answer with these headers, besides its length.
func answered(status int, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

const jsonType = "Content-Type: application/x-amz-json-1.0\r\n"

// receive polls as package queue does: the SDK finishes what is handed over.
func receive(ctx context.Context, c *direct.Client, o sqs.Options) (ids []string, over bool, err error) {
	got, _, err := c.Receive(ctx, 20*time.Second, 30*time.Second)
	for _, m := range got {
		ids = append(ids, m.ID)
	}
	var h *direct.Handover
	if !errors.As(err, &h) {
		return ids, false, err
	}
	out, err := sqs.New(o).ReceiveMessage(ctx, receiveInput(), h.Options)
	if err != nil {
		return nil, true, err
	}
	for _, m := range out.Messages {
		ids = append(ids, *m.MessageId)
	}
	return ids, true, nil
}

// Each first answer, and what comes of it. The second answer, if it is asked for, is always one message named m. An
// answer that has come is never asked for again, unless it is an error that the SDK tries again.
func TestAnswersThatAreHandedOver(t *testing.T) {
	type test struct {
		first    string
		requests int    // of both clients, to the end
		fails    string // part of the error; empty: message m is received
		rests    bool   // later calls are the SDK's
	}
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\n"+jsonType+"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(oneMessage), oneMessage)
	for what, c := range map[string]test{
		"refused":             {answered(400, jsonType, refusal), 1, "QueueDoesNotExist", false},
		"throttled":           {answered(400, jsonType, `{"__type":"x#ThrottlingException"}`), 2, "", false},
		"unavailable":         {answered(503, "", "busy"), 2, "", false},
		"internal failure":    {answered(500, "Connection: close\r\n", ""), 2, "", false},
		"expired":             {answered(403, jsonType, `{"__type":"x#ExpiredTokenException"}`), 1, "ExpiredToken", false},
		"a wrong clock":       {answered(403, jsonType+"Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n", `{"__type":"x#InvalidSignatureException"}`), 2, "", true},
		"redirected":          {answered(307, "Location: http://127.0.0.1:1/\r\n", ""), 2, "", true},
		"another success":     {answered(201, jsonType, oneMessage), 1, "", false},
		"chunked":             {chunked, 1, "", true},
		"to the end":          {"HTTP/1.1 200 OK\r\n" + jsonType + "\r\n" + oneMessage, 1, "", true},
		"after 100":           {"HTTP/1.1 100 Continue\r\n\r\n" + plainAnswer(oneMessage), 1, "", true},
		"another type":        {answered(200, "Content-Type: application/json\r\n", oneMessage), 1, "", true},
		"compressed":          {answered(200, jsonType+"Content-Encoding: br\r\n", oneMessage), 1, "", true},
		"a null":              {plainAnswer(strings.Replace(oneMessage, `"Body":`, `"Attributes":null,"Body":`, 1)), 1, "", true},
		"a name in escapes":   {plainAnswer(strings.Replace(oneMessage, `"MessageId"`, `"\u004dessageId"`, 1)), 1, "", true},
		"no JSON":             {plainAnswer("<html>"), 1, "deserialization", true},
		"cut in its header":   {"HTTP/1.1 200 OK\r\nConte", 2, "", false},
		"cut in its body":     {plainAnswer(oneMessage)[:180], 1, "unexpected EOF", false},
		"no HTTP":             {"SSH-2.0-OpenSSH\r\n", 2, "", false},
		"nothing at all":      {"", 2, "", false},
		"too long a header":   {answered(200, "X: "+strings.Repeat("x", 70<<10)+"\r\n"+jsonType, oneMessage), 2, "", false},
		"too long a body":     {"HTTP/1.1 200 OK\r\n" + jsonType + "Content-Length: 99999999999\r\n\r\n", 1, "too long", false},
		"lengths that differ": {"HTTP/1.1 200 OK\r\n" + jsonType + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 2, "", false},
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t, func(w net.Conn, n int) bool {
				if n > 0 {
					_, err := io.WriteString(w, plainAnswer(oneMessage))
					return err == nil
				}
				_, _ = io.WriteString(w, c.first)
				return false
			})
			o := options(t, s.url, nil)
			client := open(t, o)
			ids, over, err := receive(t.Context(), client, o)
			if !over {
				t.Fatal("it was not left to the SDK")
			}
			if text := fmt.Sprint(err); strings.Contains(text, token) || strings.Contains(text, secret) {
				t.Errorf("the error tells a secret: %v", err)
			}
			n, _ := s.counts()
			t.Logf("%d requests, %v, %v", n, ids, err)
			if n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			switch {
			case c.fails != "":
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("received %q: %v", ids, err)
				}
			case err != nil || len(ids) != 1 || ids[0] != "m":
				t.Errorf("received %q: %v", ids, err)
			}
			if ids, over, err = receive(t.Context(), client, o); over != c.rests || err != nil || len(ids) != 1 {
				t.Errorf("the next call: left to the SDK: %v, received %q: %v", over, ids, err)
			}
		})
	}
}

// A batch of which some entries failed is parsed by the SDK, from the same answer.
func TestPartlyDeleted(t *testing.T) {
	for what, c := range map[string]struct {
		answer string
		over   bool
	}{
		"all":              {`{"Successful":[{"Id":"1"},{"Id":"0"}]}`, false},
		"all, none failed": {`{"Failed":[],"Successful":[{"Id":"1"},{"Id":"0"}]}`, false},
		"one failed":       {`{"Successful":[{"Id":"1"}],"Failed":[{"Id":"0","Code":"X","SenderFault":true}]}`, true},
		"one in neither":   {`{"Successful":[{"Id":"1"}]}`, true},
		"one twice":        {`{"Successful":[{"Id":"1"},{"Id":"1"}]}`, true},
		"another":          {`{"Successful":[{"Id":"0"},{"Id":"1"},{"Id":"2"}]}`, true},
		"both":             {`{"Successful":[{"Id":"0"},{"Id":"1"}],"Failed":[{"Id":"0","Code":"X"}]}`, true},
		"no list":          {`{}`, true},
		"an id of two":     {`{"Successful":[{"Id":"0"},{"Id":"01"}]}`, true},
	} {
		s := serve(t, func(w net.Conn, _ int) bool { _, err := io.WriteString(w, plainAnswer(c.answer)); return err == nil })
		o := options(t, s.url, nil)
		handles := []string{"a", "b"}
		err := open(t, o).DeleteBatch(t.Context(), handles)
		if handedOver(err) != c.over || err != nil && !c.over {
			t.Errorf("%s: %v", what, err)
		}
		var h *direct.Handover
		if errors.As(err, &h) {
			id := []string{"0", "1"}
			out, err := sqs.New(o).DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{
				QueueUrl: receiveInput().QueueUrl, Entries: []types.DeleteMessageBatchRequestEntry{{Id: &id[0], ReceiptHandle: &handles[0]}, {Id: &id[1], ReceiptHandle: &handles[1]}},
			}, h.Options)
			if err != nil || len(out.Successful)+len(out.Failed) != strings.Count(c.answer, `"Id"`) {
				t.Errorf("%s: the SDK read %+v: %v", what, out, err)
			}
		}
		if n, _ := s.counts(); n != 1 {
			t.Errorf("%s: %d requests", what, n)
		}
	}
}

// What is handed over is not changed by the calls that follow.
func TestHandoversOutliveTheBuffer(t *testing.T) {
	s := serve(t, func(w net.Conn, n int) bool {
		return write(w, plainAnswer(fmt.Sprintf(`{"Failed":[{"Id":"0","Code":"Code%d"}]}`, n)))
	})
	o := options(t, s.url, nil)
	c := open(t, o)
	id, handles := "0", []string{"a"}
	var first *direct.Handover
	if err := c.DeleteBatch(t.Context(), handles); !errors.As(err, &first) {
		t.Fatal(err)
	}
	for range 5 {
		_ = c.DeleteBatch(t.Context(), handles)
	}
	out, err := sqs.New(o).DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{
		QueueUrl: receiveInput().QueueUrl,
		Entries:  []types.DeleteMessageBatchRequestEntry{{Id: &id, ReceiptHandle: &handles[0]}},
	}, first.Options)
	if err != nil || len(out.Failed) != 1 || *out.Failed[0].Code != "Code0" {
		t.Errorf("the SDK read %+v: %v", out, err)
	}
}

// Credentials that cannot be had are the SDK's to report.
func TestNoCredentials(t *testing.T) {
	s := serve(t, func(net.Conn, int) bool { return false })
	o := options(t, s.url, func(o *sqs.Options) { o.Credentials = failing{} })
	if _, over, err := receive(t.Context(), open(t, o), o); !over || err == nil || !strings.Contains(err.Error(), "no login") {
		t.Errorf("%v, %v", over, err)
	}
	if n, _ := s.counts(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A redirect is not followed with what was signed for another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other := serve(t, func(w net.Conn, _ int) bool { _, err := io.WriteString(w, plainAnswer(oneMessage)); return err == nil })
	s := serve(t, func(w net.Conn, _ int) bool {
		_, err := io.WriteString(w, answered(http.StatusPermanentRedirect, "Location: "+other.url+"\r\n", ""))
		return err == nil
	})
	if _, _, err := open(t, options(t, s.url, nil)).Receive(t.Context(), time.Second, time.Second); !handedOver(err) {
		t.Errorf("%v", err)
	}
	if n, _ := other.counts(); n != 0 {
		t.Errorf("%d requests to another host", n)
	}
}
