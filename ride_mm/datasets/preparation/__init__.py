"""Bring official archives and folders into the layout that the configs expect."""

from .archives import Extracted, extract
from .benchmarks import BENCHMARKS, Benchmark
from .errors import PreparationError
from .folders import archives_in, link
from .inat_json import read_annotations
from .lists import ListFile, check_list, find_list, list_files, read_checked
from .wanted import Wanted

__all__ = [
    'BENCHMARKS',
    'Benchmark',
    'Extracted',
    'ListFile',
    'PreparationError',
    'Wanted',
    'archives_in',
    'check_list',
    'extract',
    'find_list',
    'link',
    'list_files',
    'read_annotations',
    'read_checked',
]
