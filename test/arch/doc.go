// Package arch holds the module's packages to their order: its tests read go list and compare who imports whom with
// what docs/design.md says under "Shape".
package arch
