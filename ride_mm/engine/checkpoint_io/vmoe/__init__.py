"""Reading the checkpoints of V-MoE's JAX code: an index and its shards.

https://github.com/google-research/vmoe writes ``PREFIX.index`` and
``PREFIX.data-00000-of-00003`` ..., msgpack all of them. They are read with msgpack and
NumPy; nothing in them is a program, and nothing is executed.
"""

from .arrays import load_vmoe_checkpoint, read_vmoe_arrays
from .index import ArrayEntry, VMoEIndex, read_vmoe_index

__all__ = [
    'ArrayEntry',
    'VMoEIndex',
    'load_vmoe_checkpoint',
    'read_vmoe_arrays',
    'read_vmoe_index',
]
