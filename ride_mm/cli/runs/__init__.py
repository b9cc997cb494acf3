"""Runs of MMEngine: training and testing, their processes and work directories."""
