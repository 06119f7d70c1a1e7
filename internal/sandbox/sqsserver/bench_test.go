package sqsserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"cloakroom/internal/sandbox/sqsserver"
)

const loginBody = `{"user_id": "424cdd21-063a-43a7-b91b-7ca1a833afae", "app_version": "2.3.0", "device_type": "android", "ip": "199.172.111.135", "locale": "RU", "device_id": "593-47-5928"}`

// post is a raw client, a fifth of the SDK's cost, so that the figures are the server's.
func post(b *testing.B, client *http.Client, srv *sqsserver.Server, op string, body []byte, out any) {
	req, err := http.NewRequest(http.MethodPost, srv.URL(), bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header["X-Amz-Target"] = []string{"AmazonSQS." + op}
	req.Header["Content-Type"] = []string{"application/x-amz-json-1.0"}
	req.Header["Authorization"] = []string{
		"AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00",
	}
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %v %s", op, err, text)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceiveAndDelete is what ingest does to a queue: receive ten, delete ten, over loopback HTTP. One iteration
// is one message. The client's share of the two cores is in the figure.
func BenchmarkReceiveAndDelete(b *testing.B) {
	for _, clients := range []int{1, 4, 16} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) { receiveAndDelete(b, clients) })
	}
}

func receiveAndDelete(b *testing.B, clients int) {
	srv := sqsserver.New(sqsserver.Config{})
	if err := srv.Start(); err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	url, err := srv.CreateQueue("bench", map[string]string{"VisibilityTimeout": "300"})
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		if err := srv.Put("bench", sqsserver.Message{Body: loginBody}); err != nil {
			b.Fatal(err)
		}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	receive := []byte(
		`{"QueueUrl":"` + url + `","MaxNumberOfMessages":10,"WaitTimeSeconds":0,"MessageSystemAttributeNames":["SentTimestamp"]}`,
	)
	var got atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for got.Load() < int64(b.N) {
				var page struct {
					Messages []struct{ ReceiptHandle, Body, MessageId string }
				}
				post(b, client, srv, "ReceiveMessage", receive, &page)
				if len(page.Messages) == 0 {
					continue
				}
				got.Add(int64(len(page.Messages)))
				var del strings.Builder
				for i, m := range page.Messages {
					fmt.Fprintf(&del, `,{"Id":"%d","ReceiptHandle":"%s"}`, i, m.ReceiptHandle)
				}
				post(b, client, srv, "DeleteMessageBatch",
					[]byte(`{"QueueUrl":"`+url+`","Entries":[`+del.String()[1:]+`]}`), nil)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	if n := srv.Counts("bench").Total(); n != 0 {
		b.Fatalf("%d messages are left", n)
	}
}

// BenchmarkSendBatch sends ten messages a call over loopback HTTP. One iteration is one message.
func BenchmarkSendBatch(b *testing.B) {
	srv := sqsserver.New(sqsserver.Config{})
	if err := srv.Start(); err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	url, err := srv.CreateQueue("bench", nil)
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	body, err := json.Marshal(loginBody)
	if err != nil {
		b.Fatal(err)
	}
	var batch strings.Builder
	for i := range 10 {
		fmt.Fprintf(&batch, `,{"Id":"%d","MessageBody":%s}`, i, body)
	}
	request := []byte(`{"QueueUrl":"` + url + `","Entries":[` + batch.String()[1:] + `]}`)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 10 {
		post(b, client, srv, "SendMessageBatch", request, nil)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkMemory reports what a waiting message costs, body included.
func BenchmarkMemory(b *testing.B) {
	srv := sqsserver.New(sqsserver.Config{})
	if _, err := srv.CreateQueue("bench", nil); err != nil {
		b.Fatal(err)
	}
	before := heap()
	for range b.N {
		if err := srv.Put("bench", sqsserver.Message{Body: strings.Clone(loginBody), Sender: "bench"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/message")
	runtime.KeepAlive(srv)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
