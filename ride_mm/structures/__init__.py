"""What travels from datasets to heads."""

from .label_batch import LabelBatch, batch_targets, on_cpu

__all__ = ['LabelBatch', 'batch_targets', 'on_cpu']
