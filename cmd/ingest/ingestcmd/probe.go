package ingestcmd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
)

// newProbeCommand is the health check of a container that has no shell and no HTTP client.
func newProbeCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Ask the daemon at --http-addr whether it is ready; for health checks",
		Long: `Ask the daemon at --http-addr, on this machine, whether it is ready (with --live: whether it moves at
all). Exits 0 if so, else 1 and says what the daemon said. It calls nothing else: neither queue nor database
nor KEK.`,
		Example: "  ingest probe --http-addr :9464\n  ingest probe --live",
		Args:    cli.Args(),
	}
	var live bool
	cli.Of(cmd).Bool(&live, "live", "ask /livez instead of /readyz")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := "/readyz"
		if live {
			path = "/livez"
		}
		target, err := probeURL(s.httpAddr, path)
		if err != nil {
			return err
		}
		// The daemon bounds its answer itself; the rest is for the network.
		client := http.Client{Timeout: probeTimeout + probeTimeout/3}
		answer, err := client.Get(target)
		if err != nil {
			var wrapped *url.Error
			if errors.As(err, &wrapped) {
				err = wrapped.Err
			}
			// 1, whatever the reason: container runtimes give the other codes meanings of their own.
			return cli.Exit(1, fmt.Errorf("asking the daemon at %s: %w", s.httpAddr, err))
		}
		defer answer.Body.Close()
		said, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
		if err != nil {
			return fmt.Errorf("asking the daemon at %s: %w", s.httpAddr, err)
		}
		text := strings.TrimSpace(string(said))
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, text)
		}
		cli.Printf(cmd.OutOrStdout(), "%s\n", text)
		return nil
	}
	return cmd
}

// probeURL is where a daemon that listens at addr answers on its own machine.
func probeURL(addr, path string) (string, error) {
	if addr == "" {
		return "", errors.New("say where the daemon listens: --http-addr or CLOAKROOM_HTTP_ADDR, as the daemon's")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("reading --http-addr %q: want HOST:PORT or :PORT", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + path, nil
}
