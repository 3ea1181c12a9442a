"""Budgets, statistics and verdicts. Pure."""
