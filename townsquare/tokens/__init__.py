"""A corpus to a vocabulary and shards of token ids."""
