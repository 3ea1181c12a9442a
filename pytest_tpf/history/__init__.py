"""Earlier runs: what this one is compared with."""
