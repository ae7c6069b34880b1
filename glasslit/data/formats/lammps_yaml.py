"""Stub."""


def frames(path, options):
    """Stub."""
    raise ValueError("not there yet")
