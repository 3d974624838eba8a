"""Prepared corpora: tokenized once into checksummed shards, then read as fast as a disk can."""
