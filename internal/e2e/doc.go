// Package e2e holds tests that need several of the product's packages at once, such as rows that etl stored and recover
// opens: those two do not import each other. It has no code of its own.
package e2e
