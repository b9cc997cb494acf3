"""What the programs in ``tools/misc/`` do."""
