"""What the programs in ``tools/model_converters/`` do."""
