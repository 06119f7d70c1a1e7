// Package recover is the auditors' counter: a value is asked for, by name and with a reason, another person approves, and
// what was approved is opened, once. (It shadows a builtin: import it as recovery.)
//
// What it promises, and who keeps it:
//
//   - Nobody opens without a request, nor approves their own; what is approved is what is opened (a digest); an approval
//     serves once and expires; rows and rows a day are bounded. The database keeps all of it, by session_user.
//   - No sealed value leaves the database before the intent to open it is committed and flushed. The database keeps it, in
//     three transactions: intent, confirmation, handing out.
//   - Nothing is shown unless every row opened, every token matched, and the outcome is in the audit log. The client keeps
//     it; a client that does not is still in the log, by its intent. The log may say more than was seen, never less.
//
// What it cannot promise: whoever holds the KMS permission to decrypt and a copy of the tables needs no approval. KMS's own
// log is the second witness; [Report] compares the two.
package recover
