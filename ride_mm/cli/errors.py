"""What can be wrong with a command line."""


class UsageError(Exception):
    """Options that cannot be followed, in words for the user."""
