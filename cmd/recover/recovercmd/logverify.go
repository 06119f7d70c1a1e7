package recovercmd

import (
	"cmp"
	"context"
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

// checkpointSource are the flags that name checkpoints kept elsewhere.
type checkpointSource struct {
	paths     []string
	publicKey string
}

func (s *checkpointSource) declare(f cli.Flags) {
	f.List(&s.paths, "checkpoints", "checkpoints that were kept elsewhere: files, or directories of them", nil)
	f.String(&s.publicKey, "public-key", "", "the witness's public key file")
}

// read reads the checkpoints, the smallest first.
func (s *checkpointSource) read() ([]auditlog.Checkpoint, error) {
	if len(s.paths) == 0 || s.publicKey == "" {
		return nil, errors.New("--public-key and --checkpoints are needed: " +
			"without a checkpoint kept elsewhere a log proves nothing")
	}
	key, err := auditlog.ReadVerifier(s.publicKey)
	if err != nil {
		return nil, err
	}
	var all []auditlog.Checkpoint
	for _, path := range s.paths {
		some, err := auditlog.ReadCheckpoints(path, key)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, errors.New("--checkpoints names no checkpoint")
	}
	slices.SortStableFunc(all, func(a, b auditlog.Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return all, nil
}

// verifyFlags are the flags of recover log verify.
type verifyFlags struct {
	checkpointSource
	bundle, proof string
	asJSON        bool
}

func (p *program) newLogVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify --public-key FILE --checkpoints PATH",
		Short: "Compare the log, or a bundle of it, with checkpoints kept elsewhere; exit code 7 if they differ",
		Long: `Compare the log, or a bundle of it, with checkpoints kept elsewhere; exit code 7 if they differ.

With --bundle it needs no database: a bundle, the public key, and a checkpoint that no suspect could
touch. An old checkpoint finds old rewriting, and a new one covers more leaves: give all that you
have.`,
		Example: "  recover log verify --bundle bundle --public-key signer.pub --checkpoints /mnt/checkpoints",
		Args:    cli.Args(),
	}
	var o verifyFlags
	f := cli.Of(cmd)
	o.declare(f)
	f.String(&o.bundle, "bundle", "", "bundle to verify (default: the log in the database)")
	f.String(&o.proof, "proof", "", "verify a proof that recover log prove wrote, instead of a whole log")
	f.Bool(&o.asJSON, "json", "print JSON")
	f.Excludes("proof", "bundle", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.runLogVerify(cmd, o) }
	return cmd
}

func (p *program) runLogVerify(cmd *cobra.Command, o verifyFlags) error {
	checkpoints, err := o.read()
	if err != nil {
		return err
	}
	if o.proof != "" {
		return verifyProof(cmd, o.proof, checkpoints)
	}
	log, done, err := p.leavesToVerify(cmd.Context(), o.bundle, checkpoints[0].Origin)
	if err != nil {
		return err
	}
	defer done()
	r, err := auditlog.Verify(cmd.Context(), log, checkpoints, nil)
	if err != nil {
		return err
	}
	if o.asJSON {
		return cli.PrintJSON(cmd.OutOrStdout(), r)
	}
	cli.Printf(cmd.OutOrStdout(), "valid: %s, root %s, %s\n",
		leaves(r.Size), r.Root, cli.Count(r.Checkpoints, "checkpoint"))
	if rest := r.Size - r.Covered; rest > 0 {
		cli.Printf(cmd.OutOrStdout(), "no checkpoint covers the newest %s: nothing proves them yet\n", leaves(rest))
	}
	return nil
}

// leavesToVerify opens the bundle, or else the log in the database. A bundle of another vault is
// refused here: its leaves could not match, and "edited" would be the wrong accusation.
func (p *program) leavesToVerify(ctx context.Context, bundle, want string) (auditlog.Leaves, func(), error) {
	if bundle == "" {
		c, done, err := p.client(ctx, withoutKEK)
		if err != nil {
			return nil, nil, err
		}
		return auditlog.Log{DB: c.Vault.DB}.Leaves(), done, nil
	}
	f, err := os.Open(bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the bundle: %w", err)
	}
	b, err := auditlog.OpenBundle(f)
	if err == nil && b.Origin != want {
		err = fmt.Errorf("%w: the bundle is of %s, the checkpoints of %s", auditlog.ErrInvalid, b.Origin, want)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return b, func() { _ = f.Close() }, nil
}

// verifyProof needs the checkpoint of exactly the size that the proof is for.
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
		cli.Printf(cmd.OutOrStdout(), "valid: leaf %d is in the log of %s\n%s\n", p.Seq, leaves(p.Size), p.Leaf)
		return nil
	}
	return fmt.Errorf("the proof is for the checkpoint of %s, which is not among those given", leaves(p.Size))
}

func (p *program) newLogProve() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "prove LEAF --public-key FILE --checkpoints PATH",
		Short:   "Prove that one leaf is in the log, to a holder of the newest of these checkpoints",
		Example: "  recover log prove 41 --public-key signer.pub --checkpoints /mnt/checkpoints > proof.json",
		Args:    cli.Args("LEAF"),
	}
	var source checkpointSource
	source.declare(cli.Of(cmd))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seq, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || seq < 0 {
			return cli.Usage(cmd, fmt.Errorf("reading LEAF: %q: want a leaf's number, from 0", args[0]))
		}
		checkpoints, err := source.read()
		if err != nil {
			return err
		}
		c, done, err := p.client(cmd.Context(), withoutKEK)
		if err != nil {
			return err
		}
		defer done()
		newest := checkpoints[len(checkpoints)-1]
		proof, err := auditlog.Log{DB: c.Vault.DB}.ProveInclusion(cmd.Context(), newest.Size, seq)
		if err != nil {
			return err
		}
		if err := proof.Check(newest); err != nil {
			return err
		}
		return cli.PrintJSON(cmd.OutOrStdout(), proof)
	}
	return cmd
}
