"""Spec files: an experiment as TOML text, read into the descriptions that the Python API makes.

Tables and keys have the names of the Python API: a table holds the arguments of the call of its
name, and a method `set_X` is the key `X`. Reading starts nothing and writes nothing.
"""

from hpcorch.spec.reader import Spec, read_spec, read_text

__all__ = ["Spec", "read_spec", "read_text"]
