package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloads holds the release of each major version that we would fetch. They
// are the library's own constants: it knows which ones exist.
var downloads = map[int]embeddedpostgres.PostgresVersion{
	14: embeddedpostgres.V14,
	15: embeddedpostgres.V15,
	16: embeddedpostgres.V16,
	17: embeddedpostgres.V17,
	18: embeddedpostgres.V18,
}

// downloadedBinaries fetches Postgres once into the user's cache directory. The
// library can only fetch on the way to starting a server of its own, so it does
// start one, for a second, the first time; ours is started from what it leaves
// behind. There is no psql or pg_dump in it.
func downloadedBinaries(ctx context.Context, major int) (binaries, error) {
	if os.Geteuid() == 0 {
		return binaries{}, errors.New("not downloading binaries as root")
	}
	if major == 0 {
		major = 17
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return binaries{}, err
	}
	cache = filepath.Join(cache, "cloakroom")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return binaries{}, err
	}
	// Several test processes may get here at once.
	unlock, err := lockFile(filepath.Join(cache, "download.lock"))
	if err != nil {
		return binaries{}, err
	}
	defer unlock()

	home := filepath.Join(cache, "postgres-"+string(downloads[major]))
	if b, err := inspect(ctx, filepath.Join(home, "bin")); err == nil {
		return b, nil
	}
	if err := download(downloads[major], home); err != nil {
		return binaries{}, fmt.Errorf("downloading Postgres: %w", err)
	}
	return inspect(ctx, filepath.Join(home, "bin"))
}

// download leaves a whole installation in home, or nothing.
func download(version embeddedpostgres.PostgresVersion, home string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(home), "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return err
	}
	unpacked := filepath.Join(scratch, "postgres")
	pg := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(port)).
		CachePath(scratch).
		RuntimePath(filepath.Join(scratch, "run")).
		DataPath(filepath.Join(scratch, "data")).
		BinariesPath(unpacked).
		// For the second that it runs, nobody else shall get in.
		Password(rand.Text()).
		StartParameters(map[string]string{"unix_socket_directories": ""}).
		Logger(io.Discard))
	if err := pg.Start(); err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n") // a whole log may follow
		return errors.New(line)
	}
	if err := pg.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	return os.Rename(unpacked, home)
}

// lockFile waits for an exclusive lock on path.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
