package conformance

import (
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const maxMessageBytes = 1 << 20

var messageChecks = []check[*sqs.Client]{
	{"send, receive, delete", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		body := "{\"ip\":\"203.0.113.7\",\"note\":\"\\u00e9 <&> ü\"}\r\n\t"
		sent := q.send(body)
		got := q.one(2, nil)
		equal(t, *got.Body, body, "body")
		equal(t, *got.MessageId, *sent.MessageId, "message id")
		q.delete(got)
		q.holds("0", "0", "0")
	}},
	{"characters beyond the BMP", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		body := "😀 \U00010000 \U0010ffff"
		q.send(body)
		equal(t, *q.one(2, nil).Body, body, "body")
	}},
	{"the edges of the allowed characters", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		body := "\t\n\r \x7f\u0080\u2028\ud7ff\ue000\ufffd"
		q.send(body)
		equal(t, *q.one(2, nil).Body, body, "body")
	}},
	{"characters that SQS does not carry", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		for _, body := range []string{"\x00", "a\x08", "\x0b", "\x1f", "\ufffe", "\uffff"} {
			_, err := c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: &body})
			wantError[*types.InvalidMessageContents](t, err, strconv.QuoteToASCII(body))
		}
		q.none(0, "what was refused")
	}},
	{"a body that is not UTF-8", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("a\xffb")})
		if err == nil {
			t.failf("sending: succeeded, want a checksum error of the SDK")
		}
		equal(t, *q.one(2, nil).Body, "a\ufffdb", "the body, queued anyway")
	}},
	{"the largest message", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		body := strings.Repeat("\"", maxMessageBytes) // two bytes each on the wire
		q.send(body)
		if got := q.one(2, nil); *got.Body != body {
			t.failf("the body came back with %d bytes", len(*got.Body))
		}
	}},
	{"a message too large", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.SendMessage(t,
			&sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String(strings.Repeat("x", maxMessageBytes+1))})
		if err == nil {
			t.failf("sending: succeeded")
		}
		q.none(0, "what was refused")
	}},
	{"an empty message", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		if _, err := c.SendMessage(t, &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("")}); err == nil {
			t.failf("sending: succeeded")
		}
	}},
	{"system attributes", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		got := q.one(2, visibleFor(1)).Attributes
		for _, name := range []string{"SentTimestamp", "ApproximateFirstReceiveTimestamp"} {
			millis, err := strconv.ParseInt(got[name], 10, 64)
			t.noError(err, "reading "+name)
			if d := time.Since(time.UnixMilli(millis)).Abs(); d > time.Minute {
				t.failf("%s is %v off", name, d)
			}
		}
		equal(t, got["ApproximateReceiveCount"], "1", "receive count")
		if got["SenderId"] == "" {
			t.failf("no SenderId")
		}
		equal(t, q.one(3, nil).Attributes["ApproximateReceiveCount"], "2", "receive count at the second receive")
	}},
	{"only the system attributes asked for", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		got := q.one(2, func(in *sqs.ReceiveMessageInput) {
			in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"SentTimestamp"}
		}).Attributes
		if len(got) != 1 || got["SentTimestamp"] == "" {
			t.failf("got %v, want SentTimestamp alone", got)
		}
	}},
	{"no system attributes unasked", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		got := q.one(2, func(in *sqs.ReceiveMessageInput) { in.MessageSystemAttributeNames = nil }).Attributes
		equal(t, len(got), 0, "number of attributes")
	}},
	{"system attributes by the legacy name", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		q.send("x")
		got := q.one(2, func(in *sqs.ReceiveMessageInput) {
			in.MessageSystemAttributeNames = nil
			//lint:ignore SA1019 older clients still use the deprecated name
			in.AttributeNames = []types.QueueAttributeName{"SentTimestamp"}
		}).Attributes
		if got["SentTimestamp"] == "" {
			t.failf("got %v, want SentTimestamp", got)
		}
	}},
	{"message attributes", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		out, err := c.SendMessage(
			t,
			&sqs.SendMessageInput{
				QueueUrl:    q.url,
				MessageBody: aws.String("x"),
				MessageAttributes: map[string]types.MessageAttributeValue{
					"trace.id": {DataType: aws.String("String"), StringValue: aws.String("abc")},
					"size":     {DataType: aws.String("Number"), StringValue: aws.String("12")},
					"raw":      {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}},
				},
			},
		)
		t.noError(err, "sending")
		got := q.one(2, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = []string{"All"} })
		equal(t, len(got.MessageAttributes), 3, "number of attributes")
		equal(t, string(got.MessageAttributes["raw"].BinaryValue), "\x00\x01\xff", "bytes")
		equal(t, *got.MessageAttributes["trace.id"].StringValue, "abc", "string")
		const digest = "1536bc3e954ae1d832cb4190c021f835" // by AWS's algorithm, worked out elsewhere
		equal(t, aws.ToString(out.MD5OfMessageAttributes), digest, "MD5 of attributes when sent")
		equal(t, aws.ToString(got.MD5OfMessageAttributes), digest, "MD5 of attributes when received")
	}},
	{"delay", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		_, err := c.SendMessage(t,
			&sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("x"), DelaySeconds: 1})
		t.noError(err, "sending")
		q.none(0, "before the delay is over")
		q.one(5, nil)
	}},
	{"delay by the queue's default", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, map[string]string{"DelaySeconds": "1"})
		q.send("x")
		q.none(0, "before the delay is over")
		q.one(5, nil)
	}},
	{"delay out of range", func(t *trial, c *sqs.Client) {
		q := newQueue(t, c, nil)
		in := &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: aws.String("x"), DelaySeconds: 901}
		if _, err := c.SendMessage(t, in); err == nil {
			t.failf("sending: succeeded")
		}
	}},
}
