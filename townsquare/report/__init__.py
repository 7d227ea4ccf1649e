"""One page that shows what a square did: from receipts and the ledger, without a post in it."""
