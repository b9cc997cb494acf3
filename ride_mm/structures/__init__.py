"""What travels from datasets to heads."""

from .label_batch import LabelBatch, batch_targets

__all__ = ['LabelBatch', 'batch_targets']
