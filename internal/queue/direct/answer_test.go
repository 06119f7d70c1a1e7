package direct

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// reference parses an answer with encoding/json, as the SDK's result would be read.
func reference(answer []byte) (messages []Message, damaged int, ok bool) {
	var out struct {
		Messages []struct {
			MessageId, ReceiptHandle, MD5OfBody, Body *string
			Attributes                                map[string]string
		}
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, 0, false
	}
	for _, m := range out.Messages {
		if m.MessageId == nil || m.ReceiptHandle == nil {
			continue
		}
		var body string
		if m.Body != nil {
			body = *m.Body
		}
		if sum := md5.Sum([]byte(body)); m.MD5OfBody != nil && *m.MD5OfBody != hex.EncodeToString(sum[:]) {
			damaged++
			continue
		}
		got := Message{ID: *m.MessageId, Handle: *m.ReceiptHandle, Body: []byte(body)}
		if n, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64); err == nil {
			got.Sent = time.UnixMilli(n).UTC()
		}
		if n, err := strconv.Atoi(m.Attributes["ApproximateReceiveCount"]); err == nil {
			got.Receives = n
		}
		messages = append(messages, got)
	}
	return messages, damaged, true
}

// digest appends the member MD5OfBody of a body.
func digest(body string) string {
	sum := md5.Sum([]byte(body))
	return `"MD5OfBody":"` + hex.EncodeToString(sum[:]) + `"`
}

var receivedSeeds = []string{
	`{}`, `{"Messages":[]}`, `{"Messages":null}`, `{"Messages":[{"MessageId":"m","ReceiptHandle":"h"}]}`,
	`{"Messages":[{"MessageId":"m","ReceiptHandle":"h",` + digest("1") + `,"Body":"1","Attributes":{"SentTimestamp":"1700000000123","ApproximateReceiveCount":"3","SenderId":"x"}}]}`,
	` { "Messages" : [ {"Body":"{\"a\":\"\\u00e9\\n\"}", ` + digest(`{"a":"\u00e9\n"}`) + `,"ReceiptHandle":"h/+=","MessageId":"m","More":{"x":[1,2,{}]}} ] , "X": 1.5e3 } `,
	`{"Messages":[{"MessageId":"m","ReceiptHandle":"h","MD5OfBody":"","Body":"1"},{"MessageId":"n","ReceiptHandle":"i","MD5OfBody":"00","Body":"1"}]}`,
	`{"Messages":[{"MessageId":"m\ud83d\udd11","ReceiptHandle":"\ud800","Body":"é` + "\u2028" + `"}]}`,
	`{"Messages":[{"MessageId":"m","MessageId":"n","ReceiptHandle":"h"}]}`, `{"Messages":[{"ReceiptHandle":"h"}]}`,
	`{"Messages":[{"MessageId":"m","ReceiptHandle":"h","Attributes":{"SentTimestamp":"x"}}]}`, `{"messages":[{"MessageId":"m"}]}`,
	`{"Messages":[{"MessageId":"m","ReceiptHandle":"h"}],"Messages":[{"MessageId":"n","ReceiptHandle":"i"}]}`,
	`{"Messages":[{"\u004dessageId":"m"}]}`, `{"Messages":[null]}`, `{"Messages":{}}`, `[]`, `{}{}`, `{"Messages":[`, "", "\xff", `{"Messages":[{"Body":"` + "\xff" + `"}]}`,
}

// Whatever is accepted is what encoding/json reads. Where this parser refuses, the SDK's decides.
func FuzzReceived(f *testing.F) {
	if len(receivedSeeds) < 10 {
		f.Fatal("the seeds are gone")
	}
	for _, seed := range receivedSeeds {
		f.Add([]byte(seed))
	}
	var p parser
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, damaged, err := p.received(answer)
		if err != nil {
			if len(got) > 0 || !errors.Is(err, errStrange) || err.Error() != errStrange.Error() {
				t.Errorf("%d messages and %v", len(got), err)
			}
			return
		}
		want, wantDamaged, ok := reference(exactNames(answer))
		if !ok || damaged != wantDamaged || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q:\n%v, %d damaged\n%v, %d damaged, %v", answer, got, damaged, want, wantDamaged, ok)
		}
	})
}

// exactNames hides from encoding/json the members whose names differ in case only, which it would take and the SDK
// would not.
func exactNames(answer []byte) []byte {
	known := []string{"Messages", "MessageId", "ReceiptHandle", "MD5OfBody", "Body", "Attributes", "SentTimestamp", "ApproximateReceiveCount", "Successful", "Failed", "Id"}
	var out strings.Builder
	for text := string(answer); text != ""; {
		open := strings.IndexByte(text, '"')
		if open < 0 {
			out.WriteString(text)
			break
		}
		end := open + 1
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(text))
		out.WriteString(text[:open+1])
		name := text[open+1 : end]
		isName := strings.HasPrefix(strings.TrimLeft(text[min(end+1, len(text)):], " \t\r\n"), ":")
		for _, k := range known {
			if isName && name != k && strings.EqualFold(name, k) {
				out.WriteString("other ")
			}
		}
		out.WriteString(name)
		text = text[end:]
		if text != "" {
			out.WriteByte('"')
			text = text[1:]
		}
	}
	return []byte(out.String())
}

// What SQS sends is accepted: a parser that refuses all would pass the fuzz test.
func TestReceivedAcceptsWhatSQSSends(t *testing.T) {
	var p parser
	for _, body := range []string{
		"", "1", `{"user_id":"424cdd21","ip":"199.172.111.135"}`, "tab\tnewline\r\n\"quotes\" \\ \U0001f511 é \u2028 <&>", strings.Repeat("\"x", 1<<19),
	} {
		for _, escape := range []bool{true, false} {
			text, err := json.Marshal(body)
			if !escape {
				var b strings.Builder
				e := json.NewEncoder(&b)
				e.SetEscapeHTML(false)
				err = e.Encode(body)
				text = []byte(strings.TrimSpace(b.String()))
			}
			if err != nil {
				t.Fatal(err)
			}
			const handle = "MbZj6wDWli+JvwwJaBV+3dcjk2YW2vA3+STFFljTM8tJJg6HRG6PYSasuWXPJB+Cw="
			one := `{"Attributes":{"ApproximateReceiveCount":"2","SentTimestamp":"1523232000000"},"Body":` + string(text) + `,` + digest(body) +
				`,"MessageId":"5fea7756-0ea4-451a-a703-a558b933e274","ReceiptHandle":"` + handle + `"}`
			answer := `{"Messages":[` + strings.Repeat(one+",", 9) + one + `]}`
			got, damaged, err := p.received([]byte(answer))
			if err != nil || damaged != 0 || len(got) != 10 {
				t.Fatalf("%d messages, %d damaged: %v", len(got), damaged, err)
			}
			for _, m := range got {
				if string(m.Body) != body || m.ID != "5fea7756-0ea4-451a-a703-a558b933e274" || m.Handle != handle ||
					m.Receives != 2 || m.Sent.UnixMilli() != 1523232000000 {
					t.Fatalf("read %.200v", m)
				}
			}
			p.forget()
		}
	}
}

// A message is its own: the next answer in the same buffer does not change it.
func TestMessagesOutliveTheBuffer(t *testing.T) {
	var p parser
	answer := []byte(receivedSeeds[4])
	got, _, err := p.received(answer)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages: %v", len(got), err)
	}
	before := fmt.Sprint(got)
	for i := range answer {
		answer[i] = 'x'
	}
	_, _, _ = p.received(answer)
	if after := fmt.Sprint(got); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

// deletedReference confirms indexes with encoding/json.
func deletedReference(answer []byte, n int) bool {
	var out struct {
		Successful []struct{ Id *string }
		Failed     []json.RawMessage
	}
	if json.Unmarshal(answer, &out) != nil || len(out.Failed) > 0 {
		return false
	}
	confirmed := map[string]bool{}
	for _, s := range out.Successful {
		if s.Id != nil {
			confirmed[*s.Id] = true
		}
	}
	for i := range n {
		if !confirmed[strconv.Itoa(i)] {
			return false
		}
	}
	return true
}

// Nothing is taken for deleted that the answer does not confirm.
func FuzzDeleted(f *testing.F) {
	for _, seed := range []string{
		`{"Successful":[{"Id":"0"},{"Id":"1"},{"Id":"2"}]}`, `{"Failed":[],"Successful":[{"Id":"2"},{"Id":"1"},{"Id":"0"}]}`,
		`{"Failed":[{"Id":"0","Code":"X","SenderFault":true}],"Successful":[{"Id":"1"},{"Id":"2"}]}`, `{"Failed":null,"Successful":null}`,
		`{"Successful":[{"Id":"0","Id":"1"},{"Id":"2"}]}`, `{}`, `[]`, `{"Successful":[{"Id":"0"}],"Successful":[{"Id":"1"},{"Id":"2"}]}`,
	} {
		f.Add([]byte(seed))
	}
	var p parser
	f.Fuzz(func(t *testing.T, answer []byte) {
		if err := p.deleted(answer, 3); err == nil && utf8.Valid(answer) && !deletedReference(exactNames(answer), 3) {
			t.Errorf("%q was taken for three deletes", answer)
		}
	})
}
