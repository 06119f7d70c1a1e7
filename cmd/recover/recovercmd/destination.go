package recovercmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// destination is where opened values go: a terminal, a pipe if one is meant, or a new file;
// encrypted or not.
type destination struct {
	// Flags.
	format     string
	path       string // empty: standard output
	recipients []string
	allowPipe  bool
	rawCSV     bool

	// What prepare makes of them.
	encoding  encoding
	encryptTo []age.Recipient
	stdout    io.Writer
	file      *newFile
}

// extensions are the formats by the end of a file's name.
var extensions = map[string]string{".csv": "csv", ".json": "json", ".txt": "table"}

func (d *destination) declare(f cli.Flags) {
	f.OneOf(&d.format, "format", "", []string{"table", "json", "csv"},
		"format (default: what the name of --out says; else table on a terminal, json down a pipe)")
	f.String(&d.path, "out", "",
		"write to this new file, mode 0600, whole or not at all; "+
			"its name ends in .csv, .json or .txt, or --format is given")
	f.List(&d.recipients, "recipient", "encrypt to these age recipients, age1…", func(text string) error {
		if _, err := age.ParseX25519Recipient(text); err != nil {
			return fmt.Errorf("want an age public key, age1…: %w", err)
		}
		return nil
	})
	f.Bool(&d.allowPipe, "allow-pipe", "write values to standard output although it is not a terminal")
	f.Bool(&d.rawCSV, "raw-csv", "in CSV, leave cells as they are that a spreadsheet would run as formulas")
	f.Excludes("allow-pipe", "out")
}

// prepare checks all that can be checked and makes the file, so that nothing about the output fails
// after the approval is spent.
func (d *destination) prepare(cmd *cobra.Command) error {
	for _, text := range d.recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return fmt.Errorf("reading --recipient: %w", err)
		}
		d.encryptTo = append(d.encryptTo, r)
	}
	d.stdout = cmd.OutOrStdout()
	onTerminal := cli.IsTerminal(d.stdout)
	if !onTerminal && d.path == "" && len(d.encryptTo) == 0 && !d.allowPipe {
		return errors.New("standard output is not a terminal: give --out FILE or --recipient age1…, " +
			"or --allow-pipe if the values are meant to go down a pipe")
	}
	d.encoding.terminal = onTerminal && d.path == "" && len(d.encryptTo) == 0
	d.encoding.rawCSV = d.rawCSV
	if !d.encoding.terminal {
		d.stdout = cli.Raw(d.stdout) // what is not for a terminal goes out byte by byte
	}
	if err := d.chooseFormat(); err != nil {
		return cli.Usage(cmd, err)
	}
	if d.path == "" {
		return nil
	}
	var err error
	d.file, err = createNewFile(d.path, 0o600)
	return err
}

// chooseFormat finds the format. It refuses a file whose name says another format than its content
// would have.
func (d *destination) chooseFormat() error {
	byName, known := extensions[filepath.Ext(strings.TrimSuffix(d.path, ".age"))]
	switch {
	case d.path != "" && d.format == "" && !known:
		return fmt.Errorf("reading --out: the name %q does not say the format: "+
			"end it in .csv, .json or .txt, or give --format", filepath.Base(d.path))
	case d.format != "" && known && byName != d.format:
		return fmt.Errorf("--out %s and --format %s do not agree: keep one of them", filepath.Base(d.path), d.format)
	case d.format != "":
		d.encoding.format = d.format
	case known:
		d.encoding.format = byName
	case d.encoding.terminal:
		d.encoding.format = "table"
	default:
		d.encoding.format = "json"
	}
	if d.rawCSV && d.encoding.format != "csv" {
		return fmt.Errorf("--raw-csv means nothing for %s: it is for --format csv", d.encoding.format)
	}
	return nil
}

// discard removes a file that was not finished.
func (d *destination) discard() {
	if d.file != nil {
		d.file.discard()
	}
}

func (d *destination) write(o *recovery.OpenedRows) error {
	if d.file == nil {
		return d.encode(d.stdout, o)
	}
	if err := d.encode(d.file, o); err != nil {
		return err
	}
	return d.file.commit()
}

// encode writes the rows in the format, through age if there are recipients. On standard output,
// age's output is armored.
func (d *destination) encode(w io.Writer, o *recovery.OpenedRows) error {
	buffered := bufio.NewWriter(w)
	var closers []io.Closer
	w = buffered
	if len(d.encryptTo) > 0 {
		if d.path == "" {
			armored := armor.NewWriter(w)
			w, closers = armored, append(closers, armored)
		}
		encrypted, err := age.Encrypt(w, d.encryptTo...)
		if err != nil {
			return fmt.Errorf("encrypting: %w", err)
		}
		w, closers = encrypted, append(closers, encrypted)
	}
	if err := d.encoding.write(w, o); err != nil {
		return err
	}
	for i := len(closers) - 1; i >= 0; i-- {
		if err := closers[i].Close(); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
