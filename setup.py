"""What setup.cfg cannot say: the server module is compiled where there is a C compiler."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("hpcorch", "module", "src")

setup(
    ext_modules=[
        # It is no Python extension, but is compiled and shipped like one.
        Extension(
            "hpcorch.module.server_module",
            sources=sorted(str(path) for path in SOURCES.glob("*.c")),
            depends=sorted(str(path) for path in SOURCES.glob("*.h")),
            extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
            optional=True,
        )
    ]
)
