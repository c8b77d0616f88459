"""Bytes of the TWS protocol: a frame is a length of four bytes and fields, each text with a zero byte after it."""

import asyncio
import struct
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

_LENGTH = struct.Struct(">I")
LONGEST_FRAME = 16 * 1024 * 1024
"""What claims to be longer than any message is no client of ours."""

UNSET_DOUBLE = "1.7976931348623157E308"
"""How an amount that is not known is written."""
UNSET_INTEGER = "2147483647"

Field = str | int | float | Decimal | bool | None


class NotUnderstood(ValueError):
    """A message that does not have the fields which its kind has; the text says which one is wrong."""


def written(field: Field) -> str:
    """A field as text: empty for None, 1 and 0 for claims, amounts with no more digits than they need."""
    if field is None:
        return ""
    if field is True:
        return "1"
    if field is False:
        return "0"
    if isinstance(field, Decimal):
        return f"{field.normalize():f}"
    return str(field)


def frame(*fields: Field) -> bytes:
    """One message, ready to be sent."""
    payload = "".join(f"{written(field)}\0" for field in fields).encode()
    return _LENGTH.pack(len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The payload of the next frame. Raises ``asyncio.IncompleteReadError`` at the end, ``NotUnderstood`` for nonsense."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > LONGEST_FRAME:
        raise NotUnderstood(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def fields_of(payload: bytes) -> list[str]:
    """The fields of a payload."""
    return payload.decode(errors="backslashreplace").split("\0")[:-1]


class FieldReader:
    """The fields of one message from left to right. Raises ``NotUnderstood`` where one is missing or no number."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._next = 0

    @property
    def left(self) -> int:
        """How many fields have not been read."""
        return len(self._fields) - self._next

    def text(self) -> str:
        """The next field as it is."""
        if self._next >= len(self._fields):
            raise NotUnderstood(f"the message ends after {len(self._fields)} fields")
        field = self._fields[self._next]
        self._next += 1
        return field

    def texts(self, count: int) -> list[str]:
        """The next ``count`` fields."""
        return [self.text() for _ in range(count)]

    def skip(self, count: int = 1) -> None:
        """Pass over fields that mean nothing here."""
        self.texts(count)

    def integer(self, missing: int = 0) -> int:
        """The next field as a whole number; ``missing`` where it is empty."""
        field = self.text()
        if field in ("", UNSET_INTEGER):
            return missing
        try:
            return int(field)
        except ValueError:
            raise NotUnderstood(f"field {self._next} is {field!r} and no whole number") from None

    def flag(self) -> bool:
        """The next field as a claim: 1 or true."""
        return self.text().lower() in ("1", "true")

    def amount(self) -> Decimal | None:
        """The next field as a decimal; None where it is empty or unset."""
        field = self.text()
        if field == "" or field.upper() in (UNSET_DOUBLE, "1.7976931348623157E+308"):
            return None
        if field in ("Infinite", "inf", "Infinity"):
            return Decimal("Infinity")
        try:
            return Decimal(field)
        except InvalidOperation:
            raise NotUnderstood(f"field {self._next} is {field!r} and no number") from None
