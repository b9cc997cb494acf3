"""What a user calls from Python."""

from .inference import Inferencer
from .official import convert_official, load_official
from .vmoe import convert_vmoe, load_vmoe

__all__ = [
    'Inferencer',
    'convert_official',
    'convert_vmoe',
    'load_official',
    'load_vmoe',
]
