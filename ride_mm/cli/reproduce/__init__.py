"""Reproduce a published table: what its rows need is run, resumed and reported."""

from .program import make_parser, reproduce, reproduce_main

__all__ = ['make_parser', 'reproduce', 'reproduce_main']
