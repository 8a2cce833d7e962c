"""Measures the speed of flowpolicy; README.md has the commands and the protocol."""
