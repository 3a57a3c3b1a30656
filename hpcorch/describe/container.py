"""The container image that a program runs in, and how it is entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcorch.describe import check
from hpcorch.errors import InputError

RUNTIMES = ("apptainer", "singularity")


class Container:
    """An image, and the options of the program `runtime` (apptainer or singularity) that enters it.

    `args` are further options, a list or one text that is split at white space. `mount` makes
    directories of the host visible inside: a text, a list of `host[:inside[:options]]`, or a
    mapping of the one to the other (None: the same path). `working_directory` is where the program
    starts inside; by default its run directory, which is mounted by itself, as are those of its
    databases. The program's variables reach it even when `args` hold --cleanenv.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        image: str,
        args: str | Sequence[str] = (),
        mount: str | Sequence[str] | Mapping[str, str | None] = (),
        working_directory: str = "",
        runtime: str = "apptainer",
    ) -> None:
        self.image = check.path("image", image)
        if self.image.startswith("-"):
            raise InputError(f"image is {image!r}: it must not start with '-'")
        self.args = tuple(args.split()) if isinstance(args, str) else check.texts("args", args)
        self.mount = _mounts(mount)
        self.working_directory = (
            check.path("working_directory", working_directory) if working_directory else ""
        )
        self.runtime = check.choice("runtime", runtime, RUNTIMES)

    def words(self) -> tuple[str, ...]:
        """Return the words that stand before the program's own."""
        binds = (word for item in self.mount for word in ("--bind", item))
        where = ("--pwd", self.working_directory) if self.working_directory else ()
        return (self.runtime, "exec", *self.args, *binds, *where, self.image)


class Singularity(Container):
    """A Container that is entered by the program singularity."""

    def __init__(
        self,
        image: str,
        args: str | Sequence[str] = (),
        mount: str | Sequence[str] | Mapping[str, str | None] = (),
        working_directory: str = "",
    ) -> None:
        super().__init__(image, args, mount, working_directory, runtime="singularity")


def _mounts(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        pairs = ((check.path("mount", host), inside) for host, inside in value.items())
        value = [
            host if inside is None else f"{host}:{check.path('mount', inside)}"
            for host, inside in pairs
        ]
    items = [value] if isinstance(value, str) and value else value or ()
    return tuple(check.path("mount", item) for item in check.texts("mount", items))
