"""Utilities without a domain: errors, checks, files, console output, signals, processes."""
