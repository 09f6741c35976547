"""`tutelage init`: write a commented recipe to start from."""


def init() -> None:
    """Write."""
