// Package sandbox is what cloakroom needs around it, on one machine, for trying and testing it: a private Postgres, and
// fakes of SQS, KMS and S3 in this process, which the real AWS SDK talks to over HTTP. Each says in its own package
// what it does not do.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver of the one statement below

	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/internal/sandbox/s3server"
	"cloakroom/internal/sandbox/sqsserver"
)

const (
	// Database is the database's name, Queue the queue's, Bucket the S3 bucket's, Alias the KEK's.
	Database = "cloakroom"
	Queue    = "login-queue"
	Bucket   = "login-archive"
	Alias    = kmsserver.DefaultAlias
	// Admin is an access key that may do everything; the roles' names are access keys that may do what the role may.
	Admin = "admin"
	// Secret is every access key's secret. It protects nothing.
	Secret = "cloakroom-sandbox-secret"
	region = "us-east-1"
)

// Config of a sandbox. The zero value keeps nothing.
type Config struct {
	Dir      string            // kept, and used again when it is there; empty: a private one that goes with it
	Settings map[string]string // of Postgres
}

// Sandbox is a running world.
type Sandbox struct {
	Postgres *pgserver.Server
	SQS      *sqsserver.Server
	KMS      *kmsserver.Server
	S3       *s3server.Server
	QueueURL string
}

// Start starts everything: an empty database, an empty queue, an empty bucket, a KMS key. Stop it.
func Start(ctx context.Context, c Config) (s *Sandbox, err error) {
	s = &Sandbox{}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	pgConfig := pgserver.Config{Settings: c.Settings, Memory: c.Dir == ""}
	kmsConfig := kmsserver.Config{Policies: kmsserver.Roles()}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o711); err != nil {
			return s, fmt.Errorf("making the sandbox's directory: %w", err)
		}
		pgConfig.Dir = filepath.Join(c.Dir, "postgres")
		kmsConfig.StatePath = filepath.Join(c.Dir, "kms.json")
		if kmsConfig.State, err = kmsserver.LoadState(kmsConfig.StatePath); err != nil {
			return s, err
		}
	}
	kmsConfig.Policies[Admin] = kmsserver.Administrator()

	if s.Postgres, err = pgserver.Start(ctx, pgConfig); err != nil {
		return s, err
	}
	if err := s.createDatabase(ctx); err != nil {
		return s, err
	}
	s.KMS = kmsserver.New(kmsConfig)
	if err := s.KMS.Start(); err != nil {
		return s, fmt.Errorf("starting the fake of KMS: %w", err)
	}
	s.SQS = sqsserver.New(sqsserver.Config{})
	if err := s.SQS.Start(); err != nil {
		return s, fmt.Errorf("starting the fake of SQS: %w", err)
	}
	policies := s3server.Roles()
	policies[Admin] = s3server.Policy{s3server.Any}
	s.S3 = s3server.New(s3server.Config{Policies: policies})
	if err := s.S3.Start(); err != nil {
		return s, fmt.Errorf("starting the fake of S3: %w", err)
	}
	s.S3.CreateBucket(Bucket, true)
	s.QueueURL, err = s.SQS.CreateQueue(Queue, nil)
	return s, err
}

func (s *Sandbox) createDatabase(ctx context.Context) error {
	db, err := sqlx.ConnectContext(ctx, "postgres", s.Postgres.URL(s.Postgres.SuperUser(), "postgres"))
	if err != nil {
		return fmt.Errorf("connecting to the sandbox's Postgres: %w", err)
	}
	defer db.Close()
	var there bool
	const exists = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`
	if err := db.GetContext(ctx, &there, exists, Database); err != nil ||
		there {
		return err
	}
	_, err = db.ExecContext(ctx, `CREATE DATABASE `+Database)
	return err
}

// URL addresses the database as a login; empty: as the superuser, who owns it.
func (s *Sandbox) URL(login string) string {
	if login == "" {
		login = s.Postgres.SuperUser()
	}
	// Without a port and an sslmode, which a socket does not need, nothing in it has to be quoted in a shell.
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(login),
		Path:     "/" + Database,
		RawQuery: "host=" + s.Postgres.SocketDir(),
	}
	return u.String()
}

// Var is an environment variable.
type Var struct{ Name, Value string }

// Environment is what cloakroom's programs need to find the sandbox with an access key.
func (s *Sandbox) Environment(accessKey string) []Var {
	return []Var{
		{"AWS_REGION", region},
		{"AWS_ENDPOINT_URL_SQS", s.SQS.URL()},
		{"AWS_ENDPOINT_URL_KMS", s.KMS.URL()},
		{"AWS_ENDPOINT_URL_S3", s.S3.URL()},
		{"AWS_ACCESS_KEY_ID", accessKey},
		{"AWS_SECRET_ACCESS_KEY", Secret},
	}
}

// Stop stops everything.
func (s *Sandbox) Stop() error {
	var problems []error
	if s.SQS != nil {
		problems = append(problems, s.SQS.Close())
	}
	if s.KMS != nil {
		problems = append(problems, s.KMS.Close())
	}
	if s.S3 != nil {
		problems = append(problems, s.S3.Close())
	}
	if s.Postgres != nil {
		problems = append(problems, s.Postgres.Stop())
	}
	return errors.Join(problems...)
}
