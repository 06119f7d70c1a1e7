// Command keys looks after the vault: schema and roles, key-encryption keys, status, verification, rotation.
package main

import "cloakroom/cmd/keys/keyscmd"

func main() { keyscmd.Main() }
