"""Configs read, changed and checked, before anything is built from them."""
