"""The authors' name of each tensor of a RIDEClassifier."""

import re
from collections.abc import Iterable

from .official_network import OfficialNetwork

# Tensors that the authors' weights do not have.
NOT_OFFICIAL = ('class_counts', 'threshold_logits')


def official_names(names: Iterable[str], network: OfficialNetwork) -> dict[str, str]:
    """Pair the names of a RIDEClassifier's tensors with the authors'.

    Args:
        names: Keys of its state dict.
        network: What the weights are of.

    Returns:
        Our name by the authors', without ``backbone.``.
    """
    return {
        official_name(name, network): name
        for name in names
        if not name.endswith(NOT_OFFICIAL)
    }


def official_name(name: str, network: OfficialNetwork) -> str:
    """The authors' name, without ``backbone.``, of one of our tensors.

    Raises:
        ValueError: If they have no such tensor.
    """
    plain = network.plain_names
    if match := re.fullmatch(r'backbone\.experts\.(\d+)\.(layer\d)\.(.+)', name):
        expert, stage, rest = match.groups()
        return f'{stage}.{rest}' if plain else f'{stage}s.{expert}.{rest}'
    if match := re.fullmatch(r'head\.classifiers\.(\d+)\.(.+)', name):
        expert, rest = match.groups()
        return f'linear.{rest}' if plain else f'linears.{expert}.{rest}'
    if match := re.fullmatch(r'head\.router\.hidden\.(.+)', name):
        return f'expert_help_pred_hidden_fcs.{match[1]}'
    if match := re.fullmatch(r'head\.router\.output\.(\d+)\.(.+)', name):
        index, rest = match.groups()
        shared = network.shared_output
        return f'expert_help_pred_fc{"" if shared else f"s.{index}"}.{rest}'
    if match := re.fullmatch(r'backbone\.(.+)', name):
        return match[1]
    raise ValueError(f"expected a tensor that the authors' networks have, got {name}")
