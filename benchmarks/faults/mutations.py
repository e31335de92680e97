"""Sound requests made unsound, at random and again the same for the same seed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from benchmarks.faults.calls import Sound

WHOLE: Final = (0, 1, -1, 3, 127, 10_000, 2**31 - 1, -(2**31))
LONG: Final = (*WHOLE, 2**63 - 1, -(2**63))
REAL: Final = (0.0, -0.0, -1.0, 0.3, 5e-324, 1e-300, 1e150, 1e308, float("nan"), float("inf"), float("-inf"))
PLAUSIBLE: Final = (1, 2, 3, 4)
"""Half of all numbers are one of these, so that not every request is refused for its range."""
TEXTS: Final = (
    "",
    " \t\n",
    "\0",
    "hund",
    "\u200b",
    "\u202e\ufeff\u0301",
    "🐕" * 7,
    "▁",
    "</s>",
    "<unk>",
    "%s%n'\"\\{}",
)
NUMBERS: Final = frozenset(
    {
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_FLOAT,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_ENUM,
    }
)
LONG_FIELDS: Final = 300
"""How often a repeated field comes at most."""


@dataclass(frozen=True)
class Mutated:
    """One request.

    Attributes:
        sound: what it was made of.
        data: its bytes.
        how: what was done to it, in the order it was.
    """

    sound: Sound
    data: bytes
    how: tuple[str, ...]


class Mutator:
    """Makes requests that no honest client sends."""

    def __init__(self, sounds: Sequence[Sound], seed: int) -> None:
        self._sounds = sounds
        self._wholes = [sound.request.SerializeToString() for sound in sounds]
        self._random = random.Random(seed)
        self._on_messages = (self._number, self._number, self._number, self._text, self._file, self._repeat)
        self._on_bytes: Sequence[Callable[[bytes], bytes]] = (
            self._flip,
            self._cut,
            self._drop,
            self._insert,
            self._double,
            self._splice,
            self._stretch,
            self._nest,
            self._not_utf8,
        )

    def __next__(self) -> Mutated:
        """Return the next request: a sound one with one to four changes, mostly."""
        chance = self._random
        place = chance.randrange(len(self._sounds))
        sound, data = self._sounds[place], self._wholes[place]
        how: list[str] = []
        while data == self._wholes[place]:
            if chance.random() < 0.6:
                request = type(sound.request)()
                request.CopyFrom(sound.request)
                changes = chance.choices(self._on_messages, k=chance.randint(1, 2))
                for change in changes:
                    change(request)
                data = request.SerializeToString()
                how += [change.__name__ for change in changes]
            if not how or chance.random() < 0.2:
                for damage in chance.choices(self._on_bytes, k=chance.randint(1, 2)):
                    data = damage(data)
                    how.append(damage.__name__)
        return Mutated(sound, data, tuple(how))

    # ---- on messages: what arrives can be read, and says something odd

    def _number(self, request: Message) -> None:
        """Set a field somewhere to a value at the edge of its type."""
        at, field = self._somewhere(request)
        self._set(at, field)

    def _text(self, request: Message) -> None:
        """Put any characters into the texts of a request."""
        for field in request.DESCRIPTOR.fields:
            if field.type == FieldDescriptor.TYPE_STRING and field.name in {"text", "target"}:
                codes = self._random.choices(range(0x20, 0x2FFF), k=self._random.randint(0, 40))
                _set(request, field.name, "".join(map(chr, codes)))

    def _file(self, request: Message) -> None:
        """Damage an image within a request that is whole."""
        image = getattr(request, "image", b"")
        if image:
            for damage in self._random.choices(self._on_bytes[:7], k=self._random.randint(1, 3)):
                image = damage(image)
            _set(request, "image", image)

    def _repeat(self, request: Message) -> None:
        """Give a repeated field many values, or none."""
        fields = [field for field in request.DESCRIPTOR.fields if field.is_repeated and not _is_map(field)]
        if not fields:
            return
        field = self._random.choice(fields)
        values = getattr(request, field.name)
        some = list(values)[:20]
        del values[:]
        for _ in range(self._random.choice((0, 1, 2, 19, 21, LONG_FIELDS))):
            if some:
                values.extend([self._random.choice(some)])

    def _somewhere(self, request: Message) -> tuple[Any, FieldDescriptor | None]:
        """Return a message within the request and a field of it that holds values; None where it has no fields."""
        at: Any = request
        while True:
            kind: Descriptor = at.DESCRIPTOR
            if not kind.fields:
                return at, None
            field = self._random.choice(kind.fields)
            if field.message_type is None:
                return at, field
            if not field.is_repeated:
                at = getattr(at, field.name)
                continue
            values = getattr(at, field.name)
            if _is_map(field):
                at = values[self._random.choice(("beam_size", "seed", "sampling", "repair", "priority", "x" * 300))]
                continue
            at = self._random.choice(values) if len(values) and self._random.random() < 0.8 else values.add()

    def _set(self, at: Any, field: FieldDescriptor | None) -> None:
        if field is None:
            return
        values: Sequence[Any]
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                values = TEXTS
            case FieldDescriptor.TYPE_BYTES:
                values = (b"", b"\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(1000))
            case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
                values = REAL
            case FieldDescriptor.TYPE_BOOL:
                values = (True, False)
            case FieldDescriptor.TYPE_INT64:
                values = LONG
            case FieldDescriptor.TYPE_UINT64:
                values = [value % 2**64 for value in LONG]
            case FieldDescriptor.TYPE_UINT32:
                values = [value % 2**32 for value in WHOLE]
            case _:
                values = WHOLE
        if field.type in NUMBERS and self._random.random() < 0.5:
            values = PLAUSIBLE
        if field.is_repeated:
            getattr(at, field.name).extend(self._random.choices(values, k=self._random.choice((1, 3, LONG_FIELDS))))
        else:
            setattr(at, field.name, self._random.choice(values))

    # ---- on bytes: what arrives may not be a message at all

    def _place(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _flip(self, data: bytes) -> bytes:
        """Turn up to eight bits round."""
        changed = bytearray(data)
        for _ in range(self._random.randint(1, 8) if data else 0):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _drop(self, data: bytes) -> bytes:
        first = self._place(data)
        return data[:first] + data[first + self._random.randint(1, 16) :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._random.randbytes(self._random.choice((1, 2, 8, 200))) + data[at:]

    def _double(self, data: bytes) -> bytes:
        """Have a stretch come several times: of a message, often a field."""
        first, last = sorted((self._place(data), self._place(data)))
        return data[:last] + data[first:last] * self._random.choice((1, 2, 20)) + data[last:]

    def _splice(self, data: bytes) -> bytes:
        """Go on as another request does, of any method."""
        other = self._random.choice(self._wholes)
        return data[: self._place(data)] + other[self._place(other) :]

    def _stretch(self, data: bytes) -> bytes:
        """Say a length, or any number, that is far too large."""
        at = self._place(data)
        return (
            data[:at]
            + self._random.choice((b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 12))
            + data[at + 1 :]
        )

    def _nest(self, data: bytes) -> bytes:
        """Add unknown groups, or options, one within the other, hundreds deep."""
        deep = self._random.choice((10, 99, 101, 500))
        if self._random.random() < 0.5:
            return data + b"\x7b" * deep + b"\x7c" * self._random.choice((deep, deep - 1))
        inner = b""
        for _ in range(deep):
            inner = b"\x22" + _varint(len(inner)) + inner
        return data + inner

    def _not_utf8(self, data: bytes) -> bytes:
        """Put bytes that no text has in the place of others."""
        at = self._place(data)
        return data[:at] + b"\xc3\x28\xff\xfe"[: self._random.randint(1, 4)] + data[at + 4 :]


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _set(message: Any, name: str, value: Any) -> None:
    setattr(message, name, value)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])
