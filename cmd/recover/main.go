// Command recover asks for protected values, has requests approved, opens them, and proves afterwards who saw what.
package main

import "cloakroom/cmd/recover/recovercmd"

func main() { recovercmd.Main() }
