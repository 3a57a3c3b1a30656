"""What a worker tells a caller that it cannot do."""

from __future__ import annotations

from hpcorch.errors import HpcorchError


class Fault(HpcorchError):
    """A request that failed; `kind` is one of hpcorch.client.messages.FAULTS."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind


class NoFunction(Fault):
    """A script that lacks the function it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__("input", f"the script has no function {name!r}")
