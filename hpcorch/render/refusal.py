"""The tag {% raise "sentence" %}: a site's template refuses a request, in the site's own words."""

from __future__ import annotations

from typing import NoReturn

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from hpcorch.errors import SiteRefusal


class Refusal(Extension):
    """Adds the tag to a Jinja environment; the sentence may be any expression."""

    tags = {"raise"}  # noqa: RUF012 - the base class says what this is

    def parse(self, parser: Parser) -> nodes.Node:
        """Turn the tag into a call that never returns."""
        line = next(parser.stream).lineno
        sentence = parser.parse_expression()
        where = nodes.Const(parser.filename or parser.name or "a template")
        call = self.call_method("refuse", [sentence, where, nodes.Const(line)])
        return nodes.ExprStmt(call).set_lineno(line)

    def refuse(self, sentence: object, where: str, line: int) -> NoReturn:
        """Raise SiteRefusal with the site's sentence."""
        raise SiteRefusal(str(sentence), f"this rule of the site is in {where}:{line}")
