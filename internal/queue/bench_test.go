package queue_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"cloakroom/internal/queue"
	"cloakroom/internal/sandbox/plainsqs"
	"cloakroom/internal/sandbox/sqsserver"
)

// asServer in the environment makes the test program the queue's server, so that its CPU is not the
// client's. Its value is a directory for the certificate.
const asServer = "CLOAKROOM_TEST_AS_SQS"

const benchWorkers = 16

// serveBench prints the plain endpoint, the TLS endpoint and the queue's URL, then puts n messages
// for each line "n".
func serveBench(dir string, in io.Reader, out io.Writer) error {
	server := sqsserver.New(sqsserver.Config{CallLog: -1})
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	secured := httptest.NewTLSServer(server)
	defer secured.Close()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "root.pem"), root, 0o600); err != nil {
		return err
	}
	if _, err := server.CreateQueue(name, nil); err != nil {
		return err
	}
	fmt.Fprintln(out, server.URL(), secured.URL, server.QueueURL(name))
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var n int
		if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
			return err
		}
		for i := range n {
			body := fmt.Sprintf(`{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833%04d","app_version":"2.3.0","device_type":"android",`+
				`"ip":"199.172.111.%d","locale":"RU","device_id":"593-47-%d"}`, i%10000, i%256, i)
			if err := server.Put(name, sqsserver.Message{Body: body}); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "ok")
	}
	return nil
}

// BenchmarkClients compares what one message costs the client, from its receipt to its delete: CPU
// of this process by rusage, and allocations. The SDK's bare loop and the two clients take turns.
func BenchmarkClients(b *testing.B) {
	dir := b.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), asServer+"="+dir)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	pipe, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = child.Wait()
	}()
	out := bufio.NewReader(pipe)
	var plain, secured, url string
	if _, err := fmt.Fscanln(out, &plain, &secured, &url); err != nil {
		b.Fatal(err)
	}
	fill := func(n int) {
		// Polls that were cut off are noticed first: else they take messages that nobody gets.
		time.Sleep(300 * time.Millisecond)
		fmt.Fprintln(in, n)
		if line, err := out.ReadString('\n'); err != nil || line != "ok\n" {
			b.Fatal(line, err)
		}
	}
	for _, c := range []struct{ name, endpoint string }{{"plain", plain}, {"tls", secured}} {
		b.Run(c.name, func(b *testing.B) {
			for variable, value := range map[string]string{
				"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_SQS": c.endpoint, "AWS_EC2_METADATA_DISABLED": "true",
				"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more",
				"AWS_CA_BUNDLE": filepath.Join(dir, "root.pem"),
			} {
				b.Setenv(variable, value)
			}
			b.Run("bare", func(b *testing.B) {
				client, err := plainsqs.Open(b.Context(), url)
				if err != nil {
					b.Fatal(err)
				}
				fill(b.N)
				measure(b, func() error { return client.Drain(b.Context(), b.N, benchWorkers) })
			})
			for _, client := range []string{queue.ClientSDK, queue.ClientDirect} {
				b.Run(client, func(b *testing.B) {
					q, err := queue.Open(b.Context(), queue.Config{URL: url, Client: client, Wait: time.Second})
					if err != nil {
						b.Fatal(err)
					}
					fill(b.N)
					measure(b, func() error { return drain(b.Context(), q, b.N) })
				})
			}
		})
	}
}

// drain receives and deletes n messages, and leaves the last polls to end by themselves.
func drain(ctx context.Context, q *queue.Queue, n int) error {
	consumer := q.Consume(slog.New(slog.DiscardHandler))
	var received atomic.Int64
	var group errgroup.Group
	for range benchWorkers {
		group.Go(func() error {
			for received.Load() < int64(n) {
				got, err := consumer.Receive(ctx, 0)
				if err != nil {
					return err
				}
				consumer.Done(got)
				received.Add(int64(len(got)))
			}
			return nil
		})
	}
	err := group.Wait()
	undeleted, _ := consumer.Close(ctx)
	if err == nil && undeleted > 0 {
		err = fmt.Errorf("%d are not deleted", undeleted)
	}
	return err
}

func measure(b *testing.B, run func() error) {
	runtime.GC()
	cpu := processTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	err := run()
	b.StopTimer()
	b.ReportMetric(float64((processTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	if err != nil {
		b.Fatal(err)
	}
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runAsServer is TestMain's other duty.
func runAsServer() bool {
	dir := os.Getenv(asServer)
	if dir == "" {
		return false
	}
	if err := serveBench(dir, os.Stdin, os.Stdout); err != nil && !strings.Contains(err.Error(), "closed") {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}
