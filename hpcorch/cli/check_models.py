"""Checks of what AI models need: the Python that workers run in, and its frameworks."""

from __future__ import annotations

import sys

from hpcorch.cli.finding import Finding
from hpcorch.errors import InputError
from hpcorch.frameworks import PACKAGES, frameworks
from hpcorch.sites import Site


def models(site: Site) -> list[Finding]:
    """Say which frameworks the Python of model workers has; only a Python that is unfit warns."""
    python = site.python or sys.executable
    try:
        found = frameworks(python)
    except InputError as error:
        return [Finding("AI models", "warn", error.message, error.hint or "correct python")]
    there = [f"{name} ({what})" for name, what in found.items() if what]
    missing = [f"{name} ({PACKAGES[name]})" for name, what in found.items() if not what]
    detail = f"{python} has {', '.join(there) or 'no framework'}"
    detail += f"; not installed: {', '.join(missing)}" if missing else ""
    return [Finding("AI models", "ok", detail)]
