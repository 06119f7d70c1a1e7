package chaos

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloakroom/internal/queue"
)

// process is a program under way.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  output
	done chan struct{}
}

// output is what a process printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// environment of a program: AWS lies behind the proxies, the access key is the role's name.
func (r *rig) environment(accessKey, databaseURL string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.TempDir(),
		"DATABASE_URL=" + databaseURL,
		"CLOAKROOM_KEK=awskms:///alias/cloakroom",
		"CLOAKROOM_QUEUE_URL=" + r.sqs.QueueURL(queueName),
		"CLOAKROOM_SQS_CLIENT=" + cmp.Or(os.Getenv("CLOAKROOM_SQS_CLIENT"),
			queue.ClientDirect), // make chaos runs over both
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=a secret of sixteen and more",
		"AWS_ENDPOINT_URL_S3=" + r.s3.URL(), "AWS_ENDPOINT_URL_SQS=http://" + r.sqsAt, "AWS_ENDPOINT_URL_KMS=http://" + r.kmsAt,
	}
}

func (r *rig) start(accessKey, databaseURL, program string, args ...string) *process {
	r.Helper()
	return r.startWith(nil, accessKey, databaseURL, program, args...)
}

// startWith starts a program with more in its environment.
func (r *rig) startWith(environment []string, accessKey, databaseURL, program string, args ...string) *process {
	r.Helper()
	p := &process{t: r, cmd: exec.Command(filepath.Join(programs, program), args...), done: make(chan struct{})}
	p.cmd.Env = append(r.environment(accessKey, databaseURL), environment...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is read from the process's state
	}()
	r.Cleanup(func() {
		if r.Failed() && p.running() {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGQUIT) // prints where it stands
			select {
			case <-p.done:
			case <-time.After(5 * time.Second):
			}
		}
		p.signal(syscall.SIGKILL)
		<-p.done
		if r.Failed() {
			r.Logf("%s printed:\n%s", strings.Join(p.cmd.Args[1:], " "), p.out.String())
		}
	})
	return p
}

// mustRun runs a program to its end and returns what it printed on standard output.
func (r *rig) mustRun(accessKey, databaseURL, program string, args ...string) string {
	r.Helper()
	cmd := exec.Command(filepath.Join(programs, program), args...)
	cmd.Env = r.environment(accessKey, databaseURL)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			r.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, exit.Stderr)
		}
		r.Fatal(err)
	}
	return string(out)
}

// daemonFlags make everything quick enough for a test.
var daemonFlags = []string{
	"--visibility-timeout",
	"2s",
	"--poll-wait",
	"1s",
	"--grace",
	"3s",
	"--http-addr",
	"127.0.0.1:0",
	"--route",
	"member:kind",
	"--dataset",
	"login",
}

// daemon starts ingest; flags given later win.
func (r *rig) daemon(flags ...string) *process {
	r.Helper()
	return r.start("ingest", r.databaseURL(), "ingest", append(append([]string{}, daemonFlags...), flags...)...)
}

// once starts ingest --once.
func (r *rig) once(flags ...string) *process {
	r.Helper()
	return r.daemon(append([]string{"--once"}, flags...)...)
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("sending %v: %v", s, err)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// exit waits for the process's end and checks its exit code.
func (p *process) exit(limit time.Duration, code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.signal(syscall.SIGQUIT) // prints where it stands
		<-p.done
		p.t.Fatalf("it has not ended after %v", limit)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d", got, code)
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

var served = regexp.MustCompile(`address=(\S+)`)

// get asks the daemon's HTTP server.
func (p *process) get(path string) (int, string) {
	p.t.Helper()
	var address []string
	for deadline := time.Now().Add(10 * time.Second); address == nil; time.Sleep(20 * time.Millisecond) {
		if address = served.FindStringSubmatch(p.out.String()); address == nil && time.Now().After(deadline) {
			p.t.Fatal("it serves no metrics")
		}
	}
	answer, err := http.Get("http://" + address[1] + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// metric is the value of a series without labels.
func (p *process) metric(name string) (value float64) {
	p.t.Helper()
	_, text := p.get("/metrics")
	for line := range strings.SplitSeq(text, "\n") {
		if n, _ := fmt.Sscanf(line, name+" %g", &value); n == 1 {
			return value
		}
	}
	p.t.Fatalf("no metric %s", name)
	return 0
}
