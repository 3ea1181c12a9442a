"""What the numbers in docs/benchmarks.md are made with; ``python -m benchmarks`` runs them all."""
