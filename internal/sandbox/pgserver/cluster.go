package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// initdb makes the cluster beside its final name, so that one half made by a
// killed process is never taken for a whole one.
func (s *Server) initdb(ctx context.Context) error {
	// Text sorts by bytes, which is quickest and the same on every machine;
	// upper and lower know UTF-8 where the system does.
	err := s.initdbWith(ctx, "C.UTF-8")
	if err != nil && strings.Contains(err.Error(), "locale") {
		err = s.initdbWith(ctx, "C")
	}
	return err
}

func (s *Server) initdbWith(ctx context.Context, ctype string) error {
	fresh := filepath.Join(s.place.dir, dataName+".new")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := s.account.mkdir(fresh); err != nil {
		return err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.bin.path("initdb"), "--pgdata", fresh,
		"--username", superUser, "--auth-local", "trust", "--auth-host", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--lc-ctype", ctype,
		"--no-sync", "--no-instructions")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.place.dir, environment(), s.account.attr()
	cmd.Cancel = func() error { return signal(-cmd.Process.Pid, syscall.SIGKILL) } // its children, too
	cmd.WaitDelay = time.Second
	child, err := startChild(cmd)
	if err == nil {
		<-child.done
		err = child.err
	}
	if err != nil {
		err = errors.Join(err, ctx.Err())
		return fmt.Errorf("making a cluster: %w\n%s", err, bytes.TrimSpace(out.Bytes()))
	}
	return os.Rename(fresh, s.place.data())
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// Settings that would make Dir, Port, URL or LogPath untrue.
var reserved = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "include",
	"include_dir", "include_if_exists", "listen_addresses", "logging_collector", "port",
	"unix_socket_directories", "unix_socket_permissions",
}

func checkSettings(settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		switch {
		case !settingName.MatchString(name):
			return fmt.Errorf("reading settings: %q is not the name of one", name)
		case slices.Contains(reserved, strings.ToLower(name)):
			return fmt.Errorf("reading settings: %s is for this package to set", name)
		case strings.ContainsAny(settings[name], "\n\r\x00"):
			return fmt.Errorf("reading settings: the value of %s has a line break or a NUL", name)
		}
	}
	return nil
}

// writeConf writes the configuration file. Later lines win; ALTER SYSTEM wins
// over all of them, as it would in production.
func (s *Server) writeConf() error {
	listen := ""
	if s.cfg.TCP {
		listen = "127.0.0.1"
	}
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(value)) }
	b.WriteString("include '" + dataName + "/postgresql.conf'\n")
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Settings)) {
		line(name, s.cfg.Settings[name])
	}
	line("port", fmt.Sprint(s.port))
	line("listen_addresses", listen)
	line("unix_socket_directories", `"`+s.place.socketDir()+`"`)
	line("logging_collector", "off")
	if err := os.WriteFile(s.place.conf(), []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Chmod(s.place.conf(), 0o644) // whatever the umask: the account reads it
}

func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}
