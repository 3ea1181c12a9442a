"""Who made the tokens: one file an engine."""
