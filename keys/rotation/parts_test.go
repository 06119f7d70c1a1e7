package rotation_test

import (
	"bytes"
	"testing"

	"github.com/lib/pq"
)

// parts makes what reseal_parts takes of rows' old values and their new ones, by member.
func parts(old, new [][2][]byte) (ends pq.Int32Array, parts []byte) {
	for member := range 2 {
		for row := range old {
			if old[row][member] != nil {
				parts = append(append(parts, old[row][member][:17]...), new[row][member]...)
			}
			ends = append(ends, int32(len(parts)))
		}
	}
	return ends, parts
}

// A resealed value is written over the one that it was made from, and over no other.
func TestResealWritesOverWhatItRead(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 5)
	admin := s.Open(t, "")
	admin.MustExec(`UPDATE cloakroom_data.user_logins SET sealed_device_id = NULL, masked_device_id_v1 = NULL
		WHERE row_id = (SELECT row_id FROM cloakroom_data.user_logins ORDER BY row_id LIMIT 1)`)
	stored := s.sealed(t)
	if stored.values[0][1] != nil {
		t.Fatal("the first row's second value is not NULL: the test does not try what it means to")
	}
	old, made := make([][2][]byte, 5), make([][2][]byte, 5)
	for row, values := range stored.values {
		for member, value := range values {
			if value != nil {
				old[row][member], made[row][member] = bytes.Clone(value), flipped(value, len(value)-1)
			}
		}
	}
	want := make([][2][]byte, 5)
	copy(want, made)
	old[1][0] = flipped(old[1][0], 16) // another took its place: another nonce
	old[2][0], made[2][0] = nil, nil   // where there was none there is one
	old[3][1], made[3][1] = nil, nil   // the same of the other member
	want[1], want[2], want[3] = stored.values[1], stored.values[2], stored.values[3]

	if n := s.reseal(t, stored, old, made, nil); n != 2 {
		t.Errorf("%d rows were written, want 2", n)
	}
	for row, values := range s.sealed(t).values {
		for member := range values {
			if !bytes.Equal(values[member],
				want[row][member]) || (values[member] == nil) != (want[row][member] == nil) {
				t.Errorf("row %d, member %d: %x, want %x", row, member, values[member], want[row][member])
			}
		}
	}
}

// What a client sends wrong is not written in part.
func TestResealTakesWholePartsOnly(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 1)
	stored := s.sealed(t)
	value := stored.values[0]
	for name, cut := range map[string]func(ends pq.Int32Array, parts []byte) (pq.Int32Array, []byte){
		"ends behind the last byte": func(ends pq.Int32Array, parts []byte) (pq.Int32Array, []byte) {
			return ends,
				parts[:len(parts)-1]
		},
		"nothing after the old value": func(ends pq.Int32Array, parts []byte) (pq.Int32Array, []byte) {
			return pq.Int32Array{ends[0], ends[0] + 17}, parts[:ends[0]+17]
		},
		"ends before it begins": func(ends pq.Int32Array, parts []byte) (pq.Int32Array, []byte) {
			return pq.Int32Array{ends[1], ends[0]}, parts
		},
	} {
		t.Run(name, func(t *testing.T) {
			made := [][2][]byte{{flipped(value[0], len(value[0])-1), flipped(value[1], len(value[1])-1)}}
			if n := s.reseal(t, stored, stored.values, made, cut); n != 0 {
				t.Errorf("%d rows were written, want none", n)
			}
		})
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// sealedRows are all rows in the order of their ids.
type sealedRows struct {
	ids, sents pq.StringArray
	values     [][2][]byte
	key        int
}

func (s *fixture) sealed(t *testing.T) sealedRows {
	t.Helper()
	var list []struct {
		ID     string `db:"row_id"`
		Sent   string `db:"sent"`
		First  []byte `db:"sealed_ip"`
		Second []byte `db:"sealed_device_id"`
		Key    int    `db:"data_key"`
	}
	err := s.Open(t, "").Select(&list, `SELECT row_id, sent::text, sealed_ip, sealed_device_id, data_key
		FROM cloakroom_data.user_logins ORDER BY row_id`)
	if err != nil {
		t.Fatal(err)
	}
	var all sealedRows
	for _, row := range list {
		all.ids, all.sents, all.key = append(all.ids, row.ID), append(all.sents, row.Sent), row.Key
		all.values = append(all.values, [2][]byte{row.First, row.Second})
	}
	return all
}

// reseal calls the API function as the rotator does. cut, unless it is nil, spoils what is sent.
func (s *fixture) reseal(t *testing.T, rows sealedRows, old, made [][2][]byte,
	cut func(pq.Int32Array, []byte) (pq.Int32Array, []byte)) (n int) {
	t.Helper()
	var at struct {
		Epoch int64  `db:"epoch"`
		Check []byte `db:"key_check"`
		Month string `db:"month"`
	}
	if err := s.Open(t, "").Get(&at, `SELECT s.epoch, k.key_check, k.month::text FROM cloakroom.settings s, cloakroom.data_keys k WHERE k.id = $1`, rows.key); err != nil {
		t.Fatal(err)
	}
	// A rotator seals under keys of its own.
	var rotator string
	if err := s.vault.DB.Get(&rotator, `SELECT session_user`); err != nil {
		t.Fatal(err)
	}
	s.Open(t, "").MustExec(`UPDATE cloakroom.data_keys SET created_by = $1 WHERE id = $2`, rotator, rows.key)
	ends, values := parts(old, made)
	if cut != nil {
		ends, values = cut(ends, values)
	}
	err := s.vault.DB.Get(&n, `SELECT cloakroom.reseal_parts($1, 'login', $2, $3, $4, $5, $6, $7, $8)`,
		at.Epoch, at.Month, rows.ids, rows.sents, ends, values, rows.key, at.Check)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
