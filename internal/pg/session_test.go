package pg_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
)

// pooler stands between a client and a server and passes on of the startup message what poolers do: user and
// database.
type pooler struct {
	net.Listener
	network, server string
	edit            func(toServer []byte) []byte // nil: passes everything else as it is; must keep the length
}

// newPooler returns it and the database's URL through it.
func newPooler(t *testing.T, db *pgtest.DB, edit func([]byte) []byte) string {
	t.Helper()
	direct, err := pq.NewConfig(db.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &pooler{Listener: listener, network: "tcp", edit: edit}
	p.server = net.JoinHostPort(direct.Host, itoa(direct.Port))
	if strings.HasPrefix(direct.Host, "/") {
		p.network, p.server = "unix", direct.Host+"/.s.PGSQL."+itoa(direct.Port)
	}
	go p.serve()
	u := url.URL{Scheme: "postgres", User: url.User(direct.User), Host: listener.Addr().String(), Path: "/" + db.Name()}
	u.RawQuery = "sslmode=disable"
	return u.String()
}

func itoa(port uint16) string { return strconv.Itoa(int(port)) }

func (p *pooler) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return // closed: the test is over
		}
		go p.pass(client)
	}
}

func (p *pooler) pass(client net.Conn) {
	defer client.Close()
	var length uint32
	if binary.Read(client, binary.BigEndian, &length) != nil {
		return
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(client, body); err != nil {
		return
	}
	server, err := net.Dial(p.network, p.server)
	if err != nil {
		return
	}
	defer server.Close()
	// Protocol version, then names and values, each ended by a zero byte.
	startup := slices.Clone(body[:4])
	fields := bytes.Split(body[4:], []byte{0})
	for i := 0; i+1 < len(fields) && len(fields[i]) > 0; i += 2 {
		if name := string(fields[i]); name == "user" || name == "database" {
			startup = append(append(append(append(startup, fields[i]...), 0), fields[i+1]...), 0)
		}
	}
	startup = append(startup, 0)
	message := binary.BigEndian.AppendUint32(nil, uint32(len(startup)+4))
	if _, err := server.Write(append(message, startup...)); err != nil {
		return
	}
	go func() { _, _ = io.Copy(client, server); client.Close() }() // ends with either side
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			sent := buffer[:n]
			if p.edit != nil {
				sent = p.edit(sent)
			}
			if _, err := server.Write(sent); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Through a pooler that ignores startup parameters, keys init once said that all was ready, and every function
// belonged to the login.
func TestPoolerThatIgnoresStartupParameters(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if err := pg.Migrate(t.Context(), newPooler(t, db, nil)); err != nil {
		t.Fatal(err)
	}
	var owned, others int
	if err := db.Open(t, "").QueryRow(`
		SELECT count(*) FILTER (WHERE proowner = 'cloakroom_owner'::regrole),
		       count(*) FILTER (WHERE proowner <> 'cloakroom_owner'::regrole)
		  FROM pg_proc WHERE pronamespace = 'cloakroom'::regnamespace`).Scan(&owned, &others); err != nil {
		t.Fatal(err)
	}
	if owned < 100 || others > 0 {
		t.Errorf("%d functions are the owner's, %d are not", owned, others)
	}
}

// A session that does not become what was asked for is refused, before anything is migrated.
func TestPoolerThatIgnoresSettings(t *testing.T) {
	t.Parallel()
	for name, ignored := range map[string]string{
		"role": "'role'", "search_path": "'search_path'", "isolation": "'default_transaction_isolation'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			db.Open(t, "").MustExec("ALTER DATABASE " + db.Name() + " SET default_transaction_isolation = 'serializable'")
			// set_config of a name with a dot in it takes anything and means nothing.
			meaningless := strings.Replace(ignored, ignored[2:3], ".", 1)
			through := newPooler(t, db, func(sent []byte) []byte {
				return bytes.ReplaceAll(sent, []byte("set_config("+ignored), []byte("set_config("+meaningless))
			})
			err := pg.Migrate(t.Context(), through)
			var session *pg.SessionError
			if !errors.As(err, &session) || !strings.Contains(err.Error(), "pooler") {
				t.Errorf("%v, want a refused session", err)
			}
			var tables int
			if err := db.Open(t, "").Get(&tables, `
				SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('cloakroom')`); err != nil || tables > 0 {
				t.Errorf("%d tables were made nevertheless (%v)", tables, err)
			}
		})
	}
}

// Before keys init there is no role to become: the error says so, though the server's words of that class are not shown.
func TestAMissingRoleIsForKeysInitToMake(t *testing.T) {
	t.Parallel()
	db, err := pg.Open(pg.Config{URL: pgtest.New(t).URL(""), Role: "cloakroom_nobody"})
	if err == nil {
		defer db.Close()
		err = db.PingContext(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "the role cloakroom_nobody is missing: run keys init") {
		t.Errorf("%v, want a hint at keys init", err)
	}
}
