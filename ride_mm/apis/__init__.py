"""What a user calls from Python."""

from .inference import Inferencer
from .official import convert_official, load_official

__all__ = ['Inferencer', 'convert_official', 'load_official']
