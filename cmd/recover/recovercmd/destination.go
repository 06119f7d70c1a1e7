package recovercmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// destination is where opened values go: a terminal, a pipe if that is meant, or a new file; encrypted or not.
type destination struct {
	format     string
	terminal   bool // values are shown to a person: nothing in them may command the terminal
	recipients []age.Recipient
	stdout     io.Writer
	path       string // of --out; empty: standard output
	temporary  *os.File
}

func newDestination(cmd *cobra.Command) (*destination, error) {
	d := &destination{format: cli.Value(cmd, "format"), path: cli.Value(cmd, "out"), stdout: cmd.OutOrStdout()}
	recipients, _ := cmd.Flags().GetStringSlice("recipient")
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("reading --recipient: want an age public key, age1…: %w", err)
		}
		d.recipients = append(d.recipients, r)
	}
	onTerminal := cli.IsTerminal(d.stdout)
	if !onTerminal || len(recipients) > 0 {
		d.stdout = cli.Raw(d.stdout) // bytes that are not for a terminal go out as they are
	}
	d.terminal = onTerminal && d.path == "" && len(d.recipients) == 0
	allowPipe, _ := cmd.Flags().GetBool("allow-pipe")
	if !onTerminal && d.path == "" && len(d.recipients) == 0 && !allowPipe {
		return nil, errors.New("standard output is no terminal: give --out FILE or --recipient age1…, or --allow-pipe if the values are meant to go down a pipe")
	}
	switch d.format {
	case "":
		d.format = "json"
		if d.terminal {
			d.format = "table"
		}
	case "table", "json", "csv":
	default:
		return nil, errors.New("reading --format: want table, json or csv")
	}
	if d.path != "" {
		return d, d.openTemporary()
	}
	return d, nil
}

// openTemporary makes the file beside its later name, with a mode from its first moment that nobody else can read.
func (d *destination) openTemporary() error {
	if _, err := os.Lstat(d.path); err == nil {
		return fmt.Errorf("%s is there already: name a new file", d.path)
	}
	f, err := os.CreateTemp(filepath.Dir(d.path), ".recover-*") // 0600
	if err != nil {
		return fmt.Errorf("making the output file: %w", err)
	}
	d.temporary = f
	// write gives it its name by a link: try whether one can be made here.
	probe := f.Name() + ".link"
	if err := errors.Join(os.Link(f.Name(), probe), os.Remove(probe)); err != nil {
		d.discard()
		return fmt.Errorf("making the output file: %w (name one on a file system that knows hard links, or redirect with --allow-pipe)", err)
	}
	return nil
}

// discard removes what was not finished.
func (d *destination) discard() {
	if d.temporary != nil {
		_ = d.temporary.Close()
		_ = os.Remove(d.temporary.Name())
		d.temporary = nil
	}
}

func (d *destination) write(o *recovery.OpenedRows) error {
	if d.temporary == nil {
		return d.encode(d.stdout, o)
	}
	if err := d.encode(d.temporary, o); err != nil {
		return err
	}
	if err := d.temporary.Sync(); err != nil {
		return err
	}
	// A link does not replace a file that has appeared meanwhile; a rename would.
	if err := os.Link(d.temporary.Name(), d.path); err != nil {
		return err
	}
	d.discard()
	return nil
}

// encode writes the records in the format, through age where there are recipients. What is for standard output is armored.
func (d *destination) encode(w io.Writer, o *recovery.OpenedRows) error {
	buffered := bufio.NewWriter(w)
	var closers []io.Closer
	w = buffered
	if len(d.recipients) > 0 {
		if d.path == "" {
			armored := armor.NewWriter(w)
			w, closers = armored, append(closers, armored)
		}
		encrypted, err := age.Encrypt(w, d.recipients...)
		if err != nil {
			return fmt.Errorf("encrypting: %w", err)
		}
		w, closers = encrypted, append(closers, encrypted)
	}
	if err := writeRecords(w, d.format, d.terminal, o); err != nil {
		return err
	}
	for i := len(closers) - 1; i >= 0; i-- {
		if err := closers[i].Close(); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
