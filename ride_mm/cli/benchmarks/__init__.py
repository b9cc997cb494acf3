"""What the programs in ``tools/benchmarks/`` do."""
