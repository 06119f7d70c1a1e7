// Package blackbox tests the programs as their users meet them: built, run as processes of their own against a Postgres
// of their own, killed, and judged by what is left in the database, the logs and the dumps.
package blackbox
