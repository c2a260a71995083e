"""Scoring of two files of sentences: reading and pairing them, counting, and the tables of the `score` command (workloads/score.py)."""
