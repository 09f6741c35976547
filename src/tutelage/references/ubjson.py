"""Check that a file of Universal Binary JSON is whole, before a library in C++ reads it."""

from __future__ import annotations

_SIZES = {b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_EMPTY = (b"Z", b"T", b"F", b"N")
_INTEGERS = b"iUIlL"
_DEEPEST = 100


def check_ubjson(data: bytes) -> None:
    """Refuse data that is not exactly one object of UBJSON.

    Raises:
        ValueError: It is cut off, or malformed.
    """
    end = _Reader(data).value(0, 0)
    if data[:1] != b"{" or end != len(data):
        raise ValueError("no single object of UBJSON")


class _Reader:
    """Walks over values; each method returns the position behind what it has read."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def value(self, at: int, depth: int) -> int:
        return self.body(self.part(at, 1), at + 1, depth)

    def body(self, kind: bytes, at: int, depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if kind in _EMPTY:
            return at
        if kind in _SIZES:
            return self.skip(at, _SIZES[kind])
        if kind in (b"S", b"H"):
            length, at = self.length(at)
            return self.skip(at, length)
        if kind in (b"[", b"{"):
            return self.container(kind, at, depth + 1)
        raise ValueError(f"unknown type {kind!r} at byte {at - 1}")

    def container(self, kind: bytes, at: int, depth: int) -> int:
        item: bytes | None = None
        count: int | None = None
        if self.data[at : at + 1] == b"$":
            item, at = self.part(at + 1, 1), at + 2
            if self.part(at, 1) != b"#":
                raise ValueError("a typed container must have a count")
        if self.data[at : at + 1] == b"#":
            count, at = self.length(at + 1)
        if kind == b"[" and count is not None and item in _SIZES:  # numbers, all at once
            return self.skip(at, count * _SIZES[item])
        if count is not None and count > len(self.data):
            raise ValueError("a container must not have more items than the file has bytes")
        end = b"]" if kind == b"[" else b"}"
        while count is None or count > 0:
            if count is None and self.part(at, 1) == end:
                return at + 1
            if kind == b"{":
                length, at = self.length(at)
                at = self.skip(at, length)
            at = self.value(at, depth) if item is None else self.body(item, at, depth)
            count = None if count is None else count - 1
        return at

    def length(self, at: int) -> tuple[int, int]:
        kind = self.part(at, 1)
        if kind not in _SIZES or kind not in _INTEGERS:
            raise ValueError(f"a length must be an integer, got type {kind!r} at byte {at}")
        number = int.from_bytes(self.part(at + 1, _SIZES[kind]), "big", signed=kind != b"U")
        if number < 0:
            raise ValueError("a length must not be negative")
        return number, at + 1 + _SIZES[kind]

    def skip(self, at: int, length: int) -> int:
        if at + length > len(self.data):
            raise ValueError(f"cut off at byte {len(self.data)}")
        return at + length

    def part(self, at: int, length: int) -> bytes:
        self.skip(at, length)
        return self.data[at : at + length]
