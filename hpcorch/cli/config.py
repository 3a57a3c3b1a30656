"""`hpcorch config show`: the site profile in effect, and where each value comes from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from hpcorch.cli import output
from hpcorch.errors import InputError
from hpcorch.sites import Site, load_site

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
example: hpcorch config show --origin

What is printed is a site profile in TOML: redirect it to a file to start one of your own.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    actions = parser.add_subparsers(dest="what", metavar="ACTION", title="actions")
    show_arguments(actions.add_parser("show", help="print the profile in effect"))


def show_arguments(parser: ArgumentParser) -> None:
    """Declare what `show` takes, here and below `hpcorch site`."""
    parser.add_argument("--origin", action="store_true", help="tell where each value comes from")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Print the profile."""
    if args.what is None:
        raise InputError("config what?", "hpcorch config show")
    return show(args)


def show(args: Namespace) -> int:
    """Print the profile in effect."""
    site = load_site(os.environ)
    values = {key: getattr(site, key) for key in site.origins if not key.startswith("queues.")}
    if args.json:
        queues = {name: vars(queue) for name, queue in site.queues.items()}
        output.print_json(site={**values, "queues": queues}, origins=dict(site.origins))
    else:
        print("\n".join(_lines(site, values, origin=args.origin)))
    return 0


def _lines(site: Site, values: dict[str, object], *, origin: bool) -> list[str]:
    rows = [(f"{key} = {_toml(value)}", key) for key, value in values.items()]
    for name, queue in site.queues.items():
        # A queue with no rules is a queue that jobs may name.
        rows += [("", ""), (f"[queues.{name}]", f"queues.{name}")]
        rows += [
            (f"{key} = {_toml(value)}", f"queues.{name}.{key}")
            for key, value in vars(queue).items()
            if f"queues.{name}.{key}" in site.origins
        ]
    if not origin:
        return [line for line, _ in rows]
    wide = max(len(line) for line, _ in rows)
    return [f"{line:{wide}}  # {site.origins[key]}" if key else "" for line, key in rows]


def _toml(value: object) -> str:
    """Print a value as TOML has it: JSON's texts, numbers and lists are TOML too."""
    return json.dumps(value, ensure_ascii=False)
