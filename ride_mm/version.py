"""The version of ride_mm."""

__version__ = '0.1.0'
