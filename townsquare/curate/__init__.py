"""2. Posts -> corpus: documents, conversations and preference pairs, with a reason for every post left out."""
