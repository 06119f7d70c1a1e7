//go:build !linux

package recovercmd

import (
	"errors"
	"os"
	"time"
)

func openUnnamed(string, os.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

func linkUnnamed(*os.File, string) error { return errors.ErrUnsupported }

func claim(*os.File) error { return nil }

// abandoned goes by age, because there is no lock here: no opening writes for an hour.
func abandoned(name string) bool {
	info, err := os.Stat(name)
	return err == nil && time.Since(info.ModTime()) > time.Hour
}
