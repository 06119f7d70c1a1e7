package deploy

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver
)

// notRun are the commands in the documents' sh blocks that no test runs, each with the reason.
var notRun = map[string]string{
	"aws":        "needs an AWS account",
	"systemctl":  "needs root and systemd",
	"export":     "sets what the test sets for its own surroundings",
	"psql":       "changes logins or a restored database; pgtest and the demo make theirs with the same SQL",
	"pg_dump":    "backup and restore are tested in test/blackbox",
	"pg_restore": "backup and restore are tested in test/blackbox",
	"createdb":   "backup and restore are tested in test/blackbox",
	"go":         "the demo and the tests themselves: .ci/run runs them",
	"make":       "benchmarks; its target is looked up",
	"for":        "prepares IAM policies for aws",
	"sed":        "prepares IAM policies for aws",
	"done":       "ends for",
}

// notRunLines are commands of ours that no test runs as they stand, each with the reason.
var notRunLines = map[string]string{
	"keys forget --replay certificates.jsonl": "needs the certificates of an approved forget; keys/rotation tests it",
}

// documents are all that have sh blocks.
func documents(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"README.md", "SECURITY.md"}
	for _, path := range found {
		list = append(list, "docs/"+filepath.Base(path))
	}
	return list
}

// examples are the folders with a sample, a dataset, and a page of commands.
var examples = []string{"orders", "logins", "access"}

// shLine is a line of a document's sh block: a shell command without its comment.
type shLine struct{ where, text string }

var (
	comment = regexp.MustCompile(`(^|\s)#.*$`)
	heredoc = regexp.MustCompile(`<<'?(\w+)'?`)
	setting = regexp.MustCompile(`^[A-Z_]+=\S* `)
)

// shLines are the commands of a document's sh blocks. What a here document holds is none.
func shLines(t *testing.T, path string) []shLine {
	t.Helper()
	var lines []shLine
	inBlock, end, number := false, "", 0
	text := bufio.NewScanner(strings.NewReader(read(t, path)))
	more := ""
	for text.Scan() {
		number++
		line := strings.TrimSpace(text.Text())
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = line == "```sh"
		case !inBlock:
		case end != "":
			if line == end {
				end = ""
			}
		case strings.HasSuffix(line, `\`):
			more += strings.TrimSuffix(line, `\`)
		default:
			if m := heredoc.FindStringSubmatch(line); m != nil {
				end = m[1]
			}
			line, more = strings.TrimSpace(comment.ReplaceAllString(more+line, "")), ""
			if line != "" {
				lines = append(lines, shLine{fmt.Sprintf("%s:%d", path, number), line})
			}
		}
	}
	return lines
}

// program is the first word of a command, settings before it aside.
func (l shLine) program() string {
	text := l.text
	for setting.MatchString(text) {
		text = setting.ReplaceAllString(text, "")
	}
	word, _, _ := strings.Cut(text, " ")
	return word
}

// Every command of the documents is run by the next test, or is one of a few that are not.
func TestDocumentsShowCommandsThatAreRunOrListed(t *testing.T) {
	targets := read(t, "Makefile")
	used := map[string]bool{}
	for _, path := range documents(t) {
		for _, line := range shLines(t, path) {
			p := line.program()
			used[p], used[line.text] = true, true
			if _, listed := notRun[p]; !listed && !slices.Contains(programs, p) {
				t.Errorf("%s: nothing runs %q: run it here, or say in notRun why not", line.where, line.text)
			}
			if p == "make" {
				words := strings.Fields(line.text)
				if target := words[len(words)-1]; !strings.Contains(targets, "\n"+target+": ") {
					t.Errorf("%s: the Makefile has no %s", line.where, target)
				}
			}
		}
	}
	for _, list := range []map[string]string{notRun, notRunLines} {
		for p := range list {
			if !used[p] {
				t.Errorf("no document shows %s any more: take it out of the list", p)
			}
		}
	}
}

// scene is where the documents' commands run: the demo's queue, KMS and Postgres, and a login for everybody.
type scene struct {
	*testing.T
	env     map[string]string // what the demo says
	dir     string            // stands for the current directory, and for /etc/cloakroom
	request string            // the id of the last request
}

// roles are the database login and the access key that run a program or one of its commands. The longest name counts.
var roles = map[string]string{
	"keys": "rotator", "keys init": "", "keys grant": "", "keys policy": "", "keys kek": "", "keys forget": "",
	"keys dataset": "",
	"ingest":       "ingest", "recover": "auditor", "recover approve": "approver",
}

func newScene(t *testing.T) *scene {
	s := &scene{T: t, env: map[string]string{}, dir: t.TempDir()}
	demo := exec.Command(filepath.Join(bin, "demo"), "--serve", "--events", "200")
	demo.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = demo.Process.Signal(syscall.SIGTERM)
		_ = demo.Wait()
	})
	// The KEK comes last.
	for lines := bufio.NewScanner(out); s.env["CLOAKROOM_KEK"] == "" && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		s.env[name] = strings.Trim(value, "'")
	}
	s.must("", "keys init")
	for _, role := range []string{"ingest", "rotator", "auditor", "approver", "analyst"} {
		s.login(role)
		s.must("", "keys grant "+role+" --role "+role)
	}
	s.login("approver2") // a policy may want two approvals
	s.must("", "keys grant approver2 --role approver")
	// The logins that the documents name.
	for _, login := range []string{"login_ingest", "login_rotator", "alice", "bob", "carol"} {
		s.login(login)
	}
	if err := os.CopyFS(filepath.Join(s.dir, "examples"), os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"events.json":     `[{"user_id":"u-17","ip":"192.0.2.1","device_id":"d-1"},{"user_id":"u-42","ip":"192.0.2.2","device_id":"d-2"}]`,
		"events.jsonl":    `{"user_id":"u-42","ip":"192.0.2.3","device_id":"d-3"}` + "\n",
		"why.txt":         "the customer asks",
		"sample.jsonl":    `{"order_id":"1","customer_id":"c","placed_at":"2026-10-01T09:00:00Z","customer":{"email":"a@example.com"}}` + "\n",
		"orders.yaml":     block(t, "docs/datasets.md", "yaml"),
		"purchases.jsonl": read(t, "examples/orders/orders.jsonl"),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.object("login-archive", "2026/events.jsonl", `{"user_id":"u-99","ip":"192.0.2.4","device_id":"d-4"}`+"\n")
	return s
}

// object writes one to the demo's S3, which does not check signatures.
func (s *scene) object(bucket, key, text string) {
	s.Helper()
	r, err := http.NewRequest(http.MethodPut, s.env["AWS_ENDPOINT_URL_S3"]+"/"+bucket+"/"+key, strings.NewReader(text))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=admin/20260101/us-east-1/s3/aws4_request")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		s.Fatalf("writing an object: %s", answer.Status)
	}
}

// block is the first fenced block of a language in a document: what the page shows is what its commands run on.
func block(t *testing.T, path, language string) string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, path), "```"+language+"\n")
	if !ok {
		t.Fatalf("%s has no block of %s", path, language)
	}
	text, _, _ = strings.Cut(text, "```\n")
	return text
}

func (s *scene) login(name string) {
	s.Helper()
	db, err := sqlx.Open("postgres", s.env["DATABASE_URL"])
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE ROLE " + name + " LOGIN"); err != nil {
		s.Fatalf("making the login %s: %v", name, err)
	}
}

// command is a shell's, as a role.
func (s *scene) command(role, line string) *exec.Cmd {
	cmd := exec.Command("bash", "-o", "pipefail", "-c", line)
	cmd.Dir = s.dir
	url, key := s.env["DATABASE_URL"], "admin"
	if role != "" {
		url, key = regexp.MustCompile(`//\w+@`).ReplaceAllString(url, "//"+role+"@"), role
	}
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+s.dir, "DATABASE_URL="+url,
		"AWS_ACCESS_KEY_ID="+key)
	return cmd
}

func (s *scene) must(role, line string) string {
	s.Helper()
	cmd := s.command(role, line)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.Errorf("%s: %v\n%s%s", line, err, out, &errs)
	}
	return string(out)
}

// daemon runs a command that ends when it is told to. Another command may be held against it while it runs.
func (s *scene) daemon(role, line, probe string) {
	s.Helper()
	cmd := s.command(role, "exec "+line)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	// It is ready when its probe says so; where it listens nowhere, a second is enough to have begun.
	for end := time.Now().Add(30 * time.Second); probe != "" && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if s.command(role, probe).Run() == nil {
			probe = ""
		}
	}
	if probe != "" {
		s.Errorf("%s: never succeeded while %s ran", probe, line)
	}
	time.Sleep(time.Second)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		s.Errorf("%s: %v\n%s", line, err, &said)
	}
}

var id = regexp.MustCompile(`\bID\b|[0-9a-f]{8}-[0-9a-f-]{27}`)

// run runs one of our commands as its document has it, but for names of this place: the request's id, a free port, the
// directory /etc/cloakroom, and an answer in advance where it would ask.
func (s *scene) run(line string) {
	s.Helper()
	line, _, _ = strings.Cut(line, " | ") // a pager
	words := strings.Fields(line)
	role, ok := roles[strings.Join(words[:min(2, len(words))], " ")]
	if !ok {
		role = roles[words[0]]
	}
	line = strings.ReplaceAll(line, "/etc/cloakroom", s.dir)
	line = id.ReplaceAllString(line, s.request)
	switch {
	case line == "ingest":
		s.daemon(role, line, "")
	case strings.HasPrefix(line, "ingest --http-addr "):
		s.daemon(role, line, "ingest probe"+strings.TrimPrefix(line, "ingest"))
	case strings.HasPrefix(line, "ingest probe"): // ran beside its daemon
	case strings.HasPrefix(line, "ingest test"):
		// It exits with 1 where an event would be rejected, and the examples have such events.
		s.must(role, line+" || [ $? -eq 1 ]")
	case strings.HasPrefix(line, "recover request"):
		s.request = strings.TrimSpace(s.must(role, line))
	case strings.HasPrefix(line, "recover approve"):
		s.must(role, line+" --yes")
	case strings.HasPrefix(line, "recover open"), strings.HasPrefix(line, "recover replay"):
		// Its document may not repeat that somebody approves first; a second approval is refused, and does no harm.
		for _, approver := range []string{"approver", "approver2"} {
			_ = s.command(approver, "recover approve "+s.request+" --yes").Run()
		}
		if strings.HasPrefix(line, "recover open") && !strings.Contains(line, "--out") {
			line += " --allow-pipe"
		}
		s.must(role, line)
	default:
		s.must(role, line)
	}
}

// Every command of ours in README and docs does what is said of it, in the documents' order.
func TestDocumentsCommandsRun(t *testing.T) {
	for _, path := range documents(t) {
		var ours []shLine
		for _, line := range shLines(t, path) {
			if _, listed := notRunLines[line.text]; !listed && slices.Contains(programs, line.program()) {
				ours = append(ours, line)
			}
		}
		if len(ours) == 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.must("ingest", "ingest --once && ingest --from events.json")
			for _, line := range ours {
				if !s.Run(strings.ReplaceAll(line.text, "/", "|"), func(t *testing.T) {
					one := *s
					one.T = t
					one.run(line.text)
					s.request = one.request
				}) {
					t.Logf("%s: %s", line.where, line.text)
				}
			}
		})
	}
}
