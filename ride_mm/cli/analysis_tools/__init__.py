"""What the programs in ``tools/analysis_tools/`` do."""
