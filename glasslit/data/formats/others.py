"""Stub."""


def frames(path, name):
    """Stub."""
    raise ValueError("not there yet")


def unread(path):
    """Stub."""


def recognized(path):
    """Stub."""
    raise ValueError(f"{path}: not a format")
