"""What a callable is known by, so that another one is noticed."""

import hashlib
import pickle


def callable_fingerprint(function: object) -> str:
    """Return a callable's name and a hash of what it is pickled to.

    That has the content of an object and of a bound method such as `model.predict`, but of a plain
    function only the name; a callable that cannot be pickled is known by name alone.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        content = pickle.dumps(function)
    except Exception:  # noqa: BLE001 - a lambda has no content to compare
        return name
    return f"{name} {hashlib.blake2b(content, digest_size=16).hexdigest()}"
