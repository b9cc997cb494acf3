"""What the programs in ``tools/dataset_converters/`` do."""
