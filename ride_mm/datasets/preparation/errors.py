"""What can be wrong with archives, folders and lists."""


class PreparationError(Exception):
    """Files that are not what they should be, in words for the user."""
