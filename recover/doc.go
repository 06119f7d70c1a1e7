// Package recover is the request, approve, open workflow. A requester asks for values, with a
// reason; an approver, who is another person, decides; the requester opens what was approved, once.
// (The name shadows a builtin: import it as recovery.)
//
// Which function do I call? [Client.Request] files a request, [Client.Show] and [Client.Approve]
// decide on it, [Client.Open] opens it, [Client.MakeReport] says who did what. Package auditlog
// proves the log.
//
// What it promises, and who keeps it:
//
//   - Nobody opens without a request or approves their own. What is opened is what was approved (a digest). An approval
//     serves once and expires. Rows per request and per day are bounded. The database enforces all of this by
//     session_user.
//   - No sealed value leaves the database before the intent to open it is committed and on disk. The database enforces
//     this with three transactions: intent, confirmation, handing out (open.go).
//   - Nothing is shown before every row opened, every token matched and the outcome is in the audit log. The client
//     enforces this. If it does not, its intent is still in the log: the log may say more than was seen, never less.
//
// What it cannot promise: who may decrypt with KMS and has a copy of the tables needs no approval.
// KMS's own log is the second witness, and [Report] compares the two.
package recover
