"""The requests that clients send to model workers, and the answers: plain data and its text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpcorch.client.codecs import Tensor
from hpcorch.client.frames import FrameError, Layout, Parser, describe, head, read_layouts

WORKS = ("model", "script", "load_model", "load_script")
_LOADS = "load_"
# Why a worker did not do what it was asked; the client makes an exception of each.
FAULTS = ("input", "missing", "device", "refused", "failed", "timeout", "busy")


@dataclass(frozen=True)
class Request:
    """What a worker is to do, one of WORKS: run a model or a function of a script, or only load it.

    Inputs are in the body, or come from the keys `inputs`; outputs go back in the answer, or to the
    keys `outputs`. `version` is the newest one that the caller knows of, `device` wins over the one
    that the model was stored with; both may be empty. `seconds` is the time allowed.
    """

    work: str
    name: str
    seconds: float
    function: str = ""
    version: str = ""
    device: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()

    @cached_property
    def kind(self) -> str:
        """What is to be run or loaded: "model" or "script"."""
        return self.work.removeprefix(_LOADS)

    @cached_property
    def loads_only(self) -> bool:
        """Whether nothing is to be run."""
        return self.work.startswith(_LOADS)

    def head(self, arrays: Sequence[Tensor]) -> bytes:
        """Return the beginning of the frame that carries this request and `arrays`."""
        return _head(
            arrays,
            work=self.work,
            name=self.name,
            seconds=self.seconds,
            function=self.function,
            version=self.version,
            device=self.device,
            inputs=self.inputs,
            outputs=self.outputs,
        )


@dataclass(frozen=True)
class Answer:
    """What came of a request: the outputs in the body, or a `fault` of FAULTS with its `text`."""

    fault: str = ""
    text: str = ""
    layouts: tuple[Layout, ...] = ()


def good_answer(arrays: Sequence[Tensor]) -> bytes:
    """Return the beginning of the frame of an answer that carries `arrays`."""
    return _head(arrays, fault="", text="")


def bad_answer(fault: str, text: str) -> bytes:
    """Return the frame of an answer that says why there are no outputs."""
    return _head((), fault=fault, text=text)


def request_parser() -> Parser[Request]:
    """Return what reads the headers of requests."""
    return Parser(_request)


def answer_parser() -> Parser[Answer]:
    """Return what reads the headers of answers."""
    return Parser(_answer)


def _request(found: Mapping[str, Any]) -> Request:
    seconds = _duration(found.get("seconds"))
    if found.get("work") not in WORKS:
        raise FrameError(f"a request is for {found.get('work')!r}, which no worker does")
    return Request(
        work=_text(found, "work"),
        name=_text(found, "name"),
        seconds=seconds,
        function=_text(found, "function"),
        version=_text(found, "version"),
        device=_text(found, "device"),
        inputs=_texts(found, "inputs"),
        outputs=_texts(found, "outputs"),
        layouts=read_layouts(found.get("arrays")),
    )


def _answer(found: Mapping[str, Any]) -> Answer:
    fault = _text(found, "fault")
    if fault and fault not in FAULTS:
        raise FrameError(f"an answer tells of {fault!r}, which no worker does")
    return Answer(fault, _text(found, "text"), read_layouts(found.get("arrays")))


def _duration(value: object) -> float:
    # A flag is no number here, and NaN compares false with everything.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise FrameError("a request does not say how long it may take")
    return float(value)


def _text(found: Mapping[str, Any], field: str) -> str:
    value = found.get(field)
    if not isinstance(value, str):
        raise FrameError(f"the field {field} of a frame's header is no text")
    return value


def _texts(found: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = found.get(field)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FrameError(f"the field {field} of a frame's header is no list of texts")
    return tuple(value)


def _head(arrays: Sequence[Tensor], **fields: object) -> bytes:
    text = json.dumps({**fields, "arrays": describe(arrays)}, separators=(",", ":"))
    return head(text.encode(), arrays)
