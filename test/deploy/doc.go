// Package deploy holds what stands outside the Go code to the programs as they are: the Dockerfile, docker-compose.yml,
// what is in deploy/, and the commands that docs/operations.md shows. It has no code of its own.
package deploy
