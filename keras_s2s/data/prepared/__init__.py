"""Prepared corpora: tokenized once into checksummed shards, then streamed from disk."""
