package deploy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/internal/sandbox/s3server"
)

// oneOrMore is what IAM lets be a string or a list.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

type statement struct {
	Sid       string
	Effect    string
	Action    oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore
}

const (
	keyARN   = "arn:aws:kms:AWS_REGION:AWS_ACCOUNT:key/KMS_KEY_ID"
	queueARN = "arn:aws:sqs:AWS_REGION:AWS_ACCOUNT:login-queue"
	// bucketARN is what a list is of, objectsARN what is read and deleted.
	bucketARN  = "arn:aws:s3:::S3_BUCKET"
	objectsARN = "arn:aws:s3:::S3_BUCKET/*"

	appCondition     = "kms:EncryptionContext:app"
	purposeCondition = "kms:EncryptionContext:purpose"

	// fromKeyFile is the one statement that the table of KMS permissions has not: docs/operations.md says when it is
	// needed.
	fromKeyFile = "RewrapFromAKeyFile"
)

// policies are the documents of deploy/iam by role.
func policies(t *testing.T) map[string][]statement {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy/iam/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]statement{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Version   string
			Statement []statement
		}
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.DisallowUnknownFields()
		if err := d.Decode(&document); err != nil {
			t.Fatalf("%s: %v", filepath.Base(path), err)
		}
		if document.Version != "2012-10-17" {
			t.Errorf("%s: version %q", filepath.Base(path), document.Version)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".json")] = document.Statement
	}
	return out
}

func TestPoliciesNameActionsKeysAndPurposesExactly(t *testing.T) {
	for role, statements := range policies(t) {
		sids := map[string]bool{}
		for _, s := range statements {
			where := role + " " + s.Sid
			if s.Sid == "" || sids[s.Sid] {
				t.Errorf("%s: every statement has a Sid of its own", where)
			}
			sids[s.Sid] = true
			if s.Effect == "Deny" {
				continue
			}
			for _, a := range s.Action {
				want := queueARN
				switch {
				case strings.HasPrefix(a, "kms:"):
					want = keyARN
				case strings.HasPrefix(a, "s3:List"):
					want = bucketARN
				case strings.HasPrefix(a, "s3:"):
					want = objectsARN
				}
				if strings.Contains(a, "*") || !slices.Equal(s.Resource, oneOrMore{want}) {
					t.Errorf("%s: %s on %v: want one action on %s", where, a, s.Resource, want)
				}
				if !strings.HasPrefix(a, "kms:") {
					continue
				}
				equal := s.Condition["StringEquals"]
				if len(s.Condition) != 1 || len(equal) != 2 ||
					!slices.Equal(equal[appCondition], oneOrMore{"cloakroom"}) ||
					len(equal[purposeCondition]) == 0 {
					t.Errorf("%s: %s is not bound to app and purpose: %v", where, a, s.Condition)
				}
			}
		}
	}
}

// kmsPermissions are the purposes of each KMS operation that a document allows.
func kmsPermissions(statements []statement) kmsserver.Policy {
	p := kmsserver.Policy{}
	add := func(op string, purposes []string) {
		for _, purpose := range purposes {
			if !slices.Contains(p[op], purpose) {
				p[op] = append(p[op], purpose)
			}
		}
	}
	from, to := kmsserver.Policy{}, kmsserver.Policy{}
	for _, s := range statements {
		if s.Effect != "Allow" || s.Sid == fromKeyFile {
			continue
		}
		purposes := s.Condition["StringEquals"][purposeCondition]
		for _, a := range s.Action {
			op, ok := strings.CutPrefix(a, "kms:")
			switch {
			case !ok:
			case op == "ReEncryptFrom":
				from["ReEncrypt"] = purposes
			case op == "ReEncryptTo":
				to["ReEncrypt"] = purposes
			default:
				add(op, purposes)
			}
		}
	}
	if slices.Equal(from["ReEncrypt"], to["ReEncrypt"]) {
		add("ReEncrypt", from["ReEncrypt"]) // it takes both
	}
	return p
}

func printable(p kmsserver.Policy) string {
	var out []string
	for _, op := range slices.Sorted(maps.Keys(p)) {
		if len(p[op]) > 0 {
			out = append(out, fmt.Sprint(op, slices.Sorted(slices.Values(p[op]))))
		}
	}
	return strings.Join(out, " ")
}

// What IAM is told and what the fake of KMS enforces in every test is the same table.
func TestPoliciesSayWhatTheSandboxEnforces(t *testing.T) {
	documents := policies(t)
	for role, want := range kmsserver.Roles() {
		statements, ok := documents[role]
		if !ok {
			t.Errorf("deploy/iam has no document for %s", role)
			continue
		}
		if got := printable(kmsPermissions(statements)); got != printable(want) {
			t.Errorf("%s: the document allows %q, the sandbox %q", role, got, printable(want))
		}
		if len(want) == 0 && slices.ContainsFunc(statements, func(s statement) bool { return s.Effect != "Deny" }) {
			t.Errorf("%s needs nothing of AWS and is allowed something", role)
		}
	}
	// S3 has one role.
	for role, statements := range documents {
		var got []string
		for _, s := range statements {
			for _, a := range s.Action {
				if strings.HasPrefix(a, "s3:") {
					got = append(got, a)
				}
			}
		}
		want := slices.Clone([]string(s3server.Roles()[role]))
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s: of S3 the document allows %v, the sandbox %v", role, got, want)
		}
	}
	for role := range documents {
		if _, ok := kmsserver.Roles()[role]; !ok && role != "producer" {
			t.Errorf("%s is a role of nothing", role)
		}
	}
	if len(kmsPermissions(documents["producer"])) > 0 {
		t.Error("who sends events needs no key")
	}
}

// calls are the SDK operations of which a package makes the input: sqs.ReceiveMessageInput and so on.
func calls(t *testing.T, dir, service string) []string {
	t.Helper()
	found := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == service {
					if op, ok := strings.CutSuffix(s.Sel.Name, "Input"); ok {
						found[op] = true
					}
				}
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(found))
}

// actions are the IAM actions of an operation, where they are not named like it.
var actions = map[string][]string{
	"sqs:DeleteMessageBatch":           {"sqs:DeleteMessage"},
	"sqs:ChangeMessageVisibilityBatch": {"sqs:ChangeMessageVisibility"},
	"sqs:SendMessageBatch":             {"sqs:SendMessage"},
	"kms:ReEncrypt":                    {"kms:ReEncryptFrom", "kms:ReEncryptTo"},
	// Without ListBucket, an object that is not there is a refusal.
	"s3:GetObject":          {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"},
	"s3:ListObjectVersions": {"s3:ListBucketVersions"},
}

func TestPoliciesAllowWhatTheCodeCallsAndNoMore(t *testing.T) {
	called := map[string]bool{}
	for service, dir := range map[string]string{"sqs": "internal/queue", "kms": "keys/kek", "s3": "internal/objects"} {
		ops := calls(t, dir, service)
		if len(ops) < 3 {
			t.Fatalf("%s: only %v were found", dir, ops)
		}
		for _, op := range ops {
			name := service + ":" + op
			if as, ok := actions[name]; ok {
				for _, a := range as {
					called[a] = true
				}
			} else {
				called[name] = true
			}
		}
	}
	allowed := map[string]bool{}
	for _, statements := range policies(t) {
		for _, s := range statements {
			if s.Effect == "Allow" {
				for _, a := range s.Action {
					allowed[a] = true
				}
			}
		}
	}
	for a := range called {
		if !allowed[a] {
			t.Errorf("the code calls for %s, which no document allows", a)
		}
	}
	for a := range allowed {
		if !called[a] {
			t.Errorf("%s is allowed, and no code calls for it", a)
		}
	}
	// The daemon's own calls to SQS: all but sending.
	var daemon []string
	for _, s := range policies(t)["ingest"] {
		for _, a := range s.Action {
			if strings.HasPrefix(a, "sqs:") {
				daemon = append(daemon, a)
			}
		}
	}
	for a := range called {
		if strings.HasPrefix(a, "sqs:") && a != "sqs:SendMessage" && !slices.Contains(daemon, a) {
			t.Errorf("ingest may not %s", a)
		}
	}
	if slices.Contains(daemon, "sqs:SendMessage") {
		t.Error("ingest may send: it never does")
	}
}
