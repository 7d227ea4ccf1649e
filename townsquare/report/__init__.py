"""Receipts and the ledger -> one self-contained page. It reads no post, so that it can hold none."""
