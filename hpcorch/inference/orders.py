"""What the server's module asks of a worker, by HPCORCH.WORK, and the answer for HPCORCH.DONE.

A small model is run in less time than a general parser takes to read its order, hence what is alike
from one order to the next is compared as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from hpcorch.client.codecs import SMALL_BYTES, Tensor, bytes_of, receive_array
from hpcorch.client.errors import RedisReplyError
from hpcorch.client.held_programs import shown
from hpcorch.client.messages import Request
from hpcorch.client.npyheader import DType, Layout
from hpcorch.client.redisai import element_type, element_word
from hpcorch.client.replies import ReplyReader
from hpcorch.client.text import to_text
from hpcorch.client.wire import Argument
from hpcorch.inference.faults import Fault

_MOST_KEPT = 512
# An order: texts and numbers, then the inputs, then its own number.
_TEXTS = 4
_WORDS = 6
_PARTS = 8


@dataclass(frozen=True)
class Kind:
    """What many orders have in common: a request, the number of outputs, the inputs' layouts."""

    request: Request
    outputs: int
    layouts: tuple[Layout, ...]


class Order(NamedTuple):
    """What the server wants to be run on `arrays`; `number` tells it from others of its kind."""

    kind: Kind
    arrays: Sequence[Tensor]
    number: int


class Orders:
    """Reads what HPCORCH.WORK answers on one connection."""

    def __init__(self) -> None:
        # How each input of the last order began, the first with all before it, and its kind: mostly
        # the next one is alike.
        self._last: tuple[Sequence[bytes], Kind] | None = None

    def read(self, reply: ReplyReader) -> Order | None:
        """Read an order; None when there is nothing to do."""
        order = self._read_alike(reply)
        if order is not None:
            return order
        if reply.array_size() is None:
            return None
        words = tuple([reply.value() for _ in range(_WORDS)])
        found = [_read_array(reply) for _ in range(reply.array_size() or 0)]
        kind = _kind(words, tuple([layout for layout, _ in found]))
        if found:
            self._last = _beginnings(words, kind.layouts), kind
        return Order(kind, [array for _, array in found], reply.value())

    def _read_alike(self, reply: ReplyReader) -> Order | None:
        """Read an order for the same as the last one; None if it is another."""
        if self._last is None:
            return None
        starts, kind = self._last
        arrays: list[Tensor] = []
        for start, layout in zip(starts, kind.layouts, strict=True):
            # The other inputs and the order's number follow the first one.
            if not reply.begins_with(start, layout.nbytes, more=0 if arrays else len(starts)):
                break
            arrays.append(_data(reply, layout))
        if not arrays:
            return None
        others = [_read_array(reply) for _ in starts[len(arrays) :]]
        if others:
            layouts = (*kind.layouts[: len(arrays)], *(layout for layout, _ in others))
            kind, arrays = replace(kind, layouts=layouts), arrays + [array for _, array in others]
        return Order(kind, arrays, reply.value())


# Most orders are like some before.
@lru_cache(_MOST_KEPT)
def _kind(words: tuple[Any, ...], layouts: tuple[Layout, ...]) -> Kind:
    what, key, version, function, milliseconds, outputs = words
    request = Request(
        work=to_text(what).lower(),
        name=to_text(key),
        seconds=milliseconds / 1000,
        function=to_text(function),
        version=to_text(version),
    )
    return Kind(request, outputs, layouts)


def _beginnings(words: Sequence[Any], layouts: Sequence[Layout]) -> Sequence[bytes]:
    """Return all of an order up to the data of its first input, and between those of all."""
    texts = b"".join(_bulk(word) for word in words[:_TEXTS])
    numbers = b"".join(b":%d\r\n" % number for number in words[_TEXTS:])
    before = b"*%d\r\n%b%b*%d\r\n" % (_PARTS, texts, numbers, len(layouts))
    first, *others = map(_before_data, layouts)
    return before + first, *others


def _before_data(layout: Layout) -> bytes:
    shape = b"".join(b":%d\r\n" % length for length in layout.shape)
    return (
        b"*3\r\n"
        + _bulk(element_word(layout.dtype) or b"")
        + b"*%d\r\n%b$%d\r\n" % (len(layout.shape), shape, layout.nbytes)
    )


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def _read_array(reply: ReplyReader) -> tuple[Layout, Tensor]:
    reply.array_size()
    word, shape = reply.value(), reply.value()
    layout = Layout(element_type(word), tuple(shape), False)
    if reply.bulk_size() != layout.nbytes:
        raise RedisReplyError(f"a tensor of the server is no {layout.dtype} of {layout.shape}")
    return layout, _data(reply, layout)


def _data(reply: ReplyReader, layout: Layout) -> Tensor:
    array = receive_array(reply, layout, None)
    reply.end_of_bulk()
    return array


def answer_words(kind: Kind, found: list[Tensor] | Fault, most: float) -> list[Argument]:
    """Return the words of HPCORCH.DONE that carry the outputs; raises Fault when they cannot."""
    if isinstance(found, Fault):
        raise found
    if len(found) != kind.outputs:
        name = shown(kind.request.name)
        raise Fault(
            "input",
            f"{name} has {len(found)} output(s), and {kind.outputs} names were given for them",
        )
    words: list[Argument] = []
    for index, output in enumerate(found):
        if output.nbytes > most:
            raise Fault(
                "failed",
                f"output {index} has {output.nbytes} bytes, above the {most} that the server takes",
                hint="raise its proto-max-bulk-len and client-query-buffer-limit",
            )
        words += _description(output.dtype, output.shape, index)
        small = output.nbytes <= SMALL_BYTES
        words.append(output.tobytes() if small else (bytes_of(output),))
    return words


@lru_cache(_MOST_KEPT)
def _description(dtype: DType, shape: tuple[int, ...], index: int) -> Sequence[bytes]:
    word = element_word(dtype)
    if word is None or 0 in shape:
        raise Fault(
            "failed",
            f"output {index} is {dtype} of shape {shape}, which no tensor of AI.* commands is",
        )
    return word, *(b"%d" % length for length in shape), b"BLOB"
