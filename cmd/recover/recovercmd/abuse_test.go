package recovercmd

import "testing"

// abuse is a way to abuse the product.
type abuse struct {
	name string
	run  func(*testing.T)
}

// TestAbuse tries what somebody would who wants a value and must not have it, or wants it unseen.
// Each case ends with nothing had, or with the log that shows it.
func TestAbuse(t *testing.T) {
	for _, tt := range abuses {
		t.Run(tt.name, tt.run)
	}
}

var abuses = []abuse{
	{"rollback after open", abuseRollback},
	{"savepoint variant", abuseSavepoint},
	{"synchronous_commit off and crash", abuseAsynchronousCommit},
	{"SIGKILL at each step", abuseKill},
	{"disk full on the audit table", abuseDiskFull},
	{"checkpoint sink away", abuseSinkAway},
	{"self-approval", abuseSelfApproval},
	{"expired approval", abuseExpired},
	{"reused approval", abuseReused},
	{"request altered after approval", abuseAltered},
	{"auditor's direct SELECT DELETE SET ROLE", abuseDirectSQL},
	{"auditor's CREATE in search_path", abuseSearchPath},
	{"leaf edited", abuseLeafEdited},
	{"tail cut", abuseTailCut},
	{"full rewrite with stolen signer", abuseRewrite},
	{"fork", abuseFork},
	{"sealed value swapped across row column table", abuseSwapped},
	{"token tampered", abuseToken},
	{"direct KMS Decrypt outside", abuseKMS},
	{"KMS ReEncrypt outside", abuseReEncrypt},
	{"KMS calls of another claimed", abuseClaims},
	{"canary PII through every error panic and log path", abuseCanary},
	{"piped standard output", abusePipe},
	{"two openers of one approval at once", abuseTwoOpeners},
	{"clock set back", abuseClock},
	{"row limit raced", abuseRowLimit},
	{"quota raced", abuseQuota},
	{"SQL in every selector", abuseInjection},
	{"terminal escape sequences in recovered values", abuseEscapes},
	{"temporary view planted as the staging table", abusePlantedView},
	{"row-level security on a staging table", abuseRowSecurity},
	{"REPEATABLE READ session against the fence", abuseRepeatableRead},
	{"advisory lock held for ever by an analyst", abuseAdvisoryLock},
	{"row given to another user_id or day", abuseMoved},
	{"token of another dataset", abuseOtherDataset},
	{"rewrap with wrong bytes", abuseBadRewrap},
	{"shred by one login", abuseShredAlone},
	{"roles given and policy set unseen", abuseSilentGrant},
	{"auditor who approves", abuseAuditorWhoApproves},
	{"two approvals of one group", abuseOneGroup},
	{"approver of the requester's group", abuseOwnGroup},
	{"group changed after an approval", abuseGroupChanged},
	{"approver by hand and in no group", abuseNoGroup},
	{"no approvals by a slip of the hand", abuseZeroApprovals},
	{"connections of a login without a role", abuseConnections},
	{"data key under a KEK of one's own", abuseForeignKEK},
	{"zero bytes registered as a data key", abuseZeroKey},
	{"thousands of data keys", abuseManyKeys},
	{"load under another login's data key", abuseOthersKey},
	{"garbage row of a person", abuseGarbageRow},
	{"alias of a KEK moved", abuseMovedAlias},
	{"many values asked for as one", abuseManyValues},
	{"refusal noted on somebody else's request", abuseRefusalOfOthers},
	{"log filled by one login", abuseFilledLog},
}
