"""Mechanistic analysis (§5.3, App. A, D.1, E): what the written weights have in common, and why they work."""
