package recovercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
	"cloakroom/recover/auditlog"
)

func newLogVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify --public-key FILE --checkpoints PATH",
		Short: "Compare the log, or a bundle of it, with checkpoints kept elsewhere; exit code 7 if it is not what they say",
		Long: `Compare the log, or a bundle of it, with checkpoints kept elsewhere; exit code 7 if it is not what they say.

With --bundle it needs no database: a bundle, the public key and one checkpoint that nobody in doubt could touch. The older
that checkpoint, the older a rewriting it finds; the newer, the more leaves it covers: give all there are.`,
		Args: cobra.NoArgs,
		RunE: runLogVerify,
	}
	f := cmd.Flags()
	f.String("bundle", "", "bundle to verify (default: the log in the database)")
	f.String("proof", "", "verify a proof that recover log prove wrote, instead of a whole log")
	f.StringSlice("checkpoints", nil, "checkpoint file, or a directory of them; may be repeated")
	f.String("public-key", "", "the witness's public key file")
	f.Bool("json", false, "print JSON")
	return cmd
}

// readCheckpoints reads those that the flags name, smallest first.
func readCheckpoints(cmd *cobra.Command) ([]auditlog.Checkpoint, error) {
	paths, _ := cmd.Flags().GetStringSlice("checkpoints")
	if len(paths) == 0 || cli.Value(cmd, "public-key") == "" {
		return nil, errors.New("--public-key and --checkpoints are needed: without a checkpoint kept elsewhere a log proves nothing")
	}
	key, err := auditlog.ReadVerifier(cli.Value(cmd, "public-key"))
	if err != nil {
		return nil, err
	}
	var all []auditlog.Checkpoint
	for _, path := range paths {
		some, err := auditlog.ReadCheckpoints(path, key)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no checkpoint in what --checkpoints names")
	}
	slices.SortStableFunc(all, func(a, b auditlog.Checkpoint) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	return all, nil
}

func runLogVerify(cmd *cobra.Command, _ []string) error {
	checkpoints, err := readCheckpoints(cmd)
	if err != nil {
		return err
	}
	if path := cli.Value(cmd, "proof"); path != "" {
		return verifyProof(cmd, path, checkpoints)
	}
	leaves, done, err := leavesToVerify(cmd, checkpoints[0].Origin)
	if err != nil {
		return err
	}
	defer done()
	r, err := auditlog.Verify(cmd.Context(), leaves, checkpoints, nil)
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return cli.PrintJSON(cmd.OutOrStdout(), r)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "valid: %d leaves, root %s, %d checkpoints\n", r.Size, r.Root, r.Checkpoints)
	if rest := r.Size - r.Covered; rest > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "the newest %d leaves are under no checkpoint: nothing vouches for them yet\n", rest)
	}
	return nil
}

func leavesToVerify(cmd *cobra.Command, want string) (auditlog.Leaves, func(), error) {
	path := cli.Value(cmd, "bundle")
	if path == "" {
		log, done, err := openLog(cmd)
		if err != nil {
			return nil, nil, err
		}
		return log.Leaves(), done, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the bundle: %w", err)
	}
	b, err := auditlog.OpenBundle(f)
	if err == nil && b.Origin != want {
		err = fmt.Errorf("%w: the bundle is of %s, the checkpoints of %s", auditlog.ErrInvalid, b.Origin, want)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return b, func() { f.Close() }, nil
}

func verifyProof(cmd *cobra.Command, path string, checkpoints []auditlog.Checkpoint) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	var p auditlog.Inclusion
	if err := json.Unmarshal(text, &p); err != nil {
		return errors.New("reading the proof: it is not what recover log prove writes")
	}
	for _, c := range checkpoints {
		if c.Size != p.Size {
			continue
		}
		if err := p.Check(c); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "valid: leaf %d is in the log of %d leaves\n%s\n", p.Seq, p.Size, visible(p.Leaf))
		return nil
	}
	return fmt.Errorf("the proof is for the checkpoint of %d leaves, which is not among those given", p.Size)
}

func newLogProve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prove LEAF --public-key FILE --checkpoints PATH",
		Short: "Prove that one leaf is in the log, to somebody who holds the newest of these checkpoints and not the log",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return errors.New("reading the leaf's number: want a number")
			}
			checkpoints, err := readCheckpoints(cmd)
			if err != nil {
				return err
			}
			log, done, err := openLog(cmd)
			if err != nil {
				return err
			}
			defer done()
			newest := checkpoints[len(checkpoints)-1]
			p, err := log.ProveInclusion(cmd.Context(), newest.Size, seq)
			if err != nil {
				return err
			}
			if err := p.Check(newest); err != nil {
				return err
			}
			return cli.PrintJSON(cmd.OutOrStdout(), p)
		},
	}
	cmd.Flags().StringSlice("checkpoints", nil, "checkpoint file, or a directory of them")
	cmd.Flags().String("public-key", "", "the witness's public key file")
	return cmd
}
