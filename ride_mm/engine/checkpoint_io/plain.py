"""Turn what a run wants to remember into plain data, and back."""

from collections import Counter, OrderedDict, deque
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .errors import CheckpointError

PLAIN = (type(None), bool, int, float, complex, str, bytes)
TORCH_DATA = (torch.dtype, torch.device, torch.Size)


def plain_data(obj: Any, where: str = 'checkpoint') -> Any:
    """Turn an object into tensors, numbers, strings and containers of these.

    NumPy arrays become tensors and NumPy scalars numbers, a deque becomes a list, and
    subclasses of dictionaries, lists and tuples become the plain ones; an OrderedDict
    (a state dict) and a Counter (the milestones of a schedule) remain what they are.

    Args:
        obj: What to convert. Tensors are passed on, not copied.
        where: How to call ``obj`` in an error.

    Raises:
        CheckpointError: For any other object, with the keys that lead to it.
    """
    if isinstance(obj, TORCH_DATA) or type(obj) in PLAIN:
        return obj
    if isinstance(obj, torch.nn.Parameter) or type(obj) is torch.Tensor:
        return obj.detach()
    if isinstance(obj, np.generic) and obj.dtype.kind in 'biufcSU':
        return obj.item()
    if isinstance(obj, np.ndarray) and obj.dtype.kind in 'biufc':
        return torch.from_numpy(np.ascontiguousarray(obj))
    if isinstance(obj, np.ndarray):
        return plain_data(obj.tolist(), where)
    if isinstance(obj, dict):
        return _plain_dict(obj, where)
    for kind, converted in (
        (tuple, tuple),
        ((list, deque), list),
        ((set, frozenset), set),
    ):
        if isinstance(obj, kind):
            return converted(
                plain_data(value, f'{where}[{i}]') for i, value in enumerate(obj)
            )
    for kind in PLAIN[1:]:
        if isinstance(obj, kind):
            return kind(obj)
    raise CheckpointError(
        f'{where}: expected tensors, numbers, strings and containers of these, got '
        f'{type(obj).__module__}.{type(obj).__qualname__}'
    )


def _plain_dict(obj: dict, where: str) -> dict:
    kind = type(obj) if type(obj) in (OrderedDict, Counter) else dict
    plain = kind()
    for key, value in obj.items():
        plain[plain_data(key, f'key of {where}')] = plain_data(
            value, f'{where}[{key!r}]'
        )
    # Versions of the modules in a state dict, which old files need to be loaded right.
    if kind is OrderedDict and hasattr(obj, '_metadata'):
        plain._metadata = plain_data(obj._metadata, f'{where}._metadata')
    return plain


def to_plain(state: dict) -> dict:
    """Turn the state of MMEngine's MessageHub into plain data.

    Args:
        state: What ``MessageHub.state_dict()`` returns.

    Returns:
        The same with each history of a logged scalar as two tensors, (T,).
    """
    histories = {}
    for name, buffer in state['log_scalars'].items():
        values, counts = buffer.data
        histories[name] = {
            'values': torch.from_numpy(np.array(values)),
            'counts': torch.from_numpy(np.array(counts)),
            'max_length': int(buffer.max_length),
        }
    return {
        'log_scalars': histories,
        'runtime_info': plain_data(
            state['runtime_info'], "message_hub['runtime_info']"
        ),
        'resumed_keys': plain_data(
            state['resumed_keys'], "message_hub['resumed_keys']"
        ),
    }


def from_plain(state: dict) -> dict:
    """Undo :func:`to_plain`, for ``MessageHub.load_state_dict``."""
    buffers = OrderedDict()
    for name, history in state['log_scalars'].items():
        buffers[name] = HistoryBuffer(
            history['values'].cpu().numpy(),
            history['counts'].cpu().numpy(),
            max_length=history['max_length'],
        )
    return {**state, 'log_scalars': buffers}
