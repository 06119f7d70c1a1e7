// Command ingest takes events off a queue or from a file, seals what is personal in them and writes rows.
package main

import "cloakroom/cmd/ingest/ingestcmd"

func main() { ingestcmd.Main() }
