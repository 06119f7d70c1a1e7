// Package infer drafts the definition of a dataset from a sample of events, and judges which members look personal.
//
//   - [Sample] takes events one by one and keeps counts of them, never the events: its memory does not grow with the
//     sample.
//   - [Sample.Draft] is the YAML, with a reason beside each decision. It can be applied as it is: it has no mistakes, and
//     each event of the sample is stored by it or is counted with the reason.
//   - [Sample.Clear] judges the clear members of a definition.
//
// A draft quotes no value that looks personal. What it quotes are words that mean "none" (n/a), and values of a few
// members whose names say that they are codes (status, currency).
//
// The judgement is by names and by the form of values. It finds what is written in usual forms. That a member was not
// judged personal proves nothing, and a draft says so.
package infer
