package pg

import (
	"database/sql"
	"database/sql/driver"
	"errors"
)

func isBadConn(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
}
