"""A program of SmartRedis users beside its own database, whose models and scripts were attached.

Runs in the environment of the real wheel. Its arguments are a folder with the input and the result
wanted, the identifier of the database, and the script's name and function.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from smartredis import (  # type: ignore[import-not-found, unused-ignore]
    Client,
    ConfigOptions,
)


def main(folder: str, identifier: str, script: str, function: str) -> None:
    rows = np.load(Path(folder, "rows.npy"))
    options = ConfigOptions.create_from_environment(identifier)
    client = Client(options, logger_name="attached")
    client.put_tensor("x", rows)
    client.run_model("net", ["x"], ["y"])
    np.testing.assert_allclose(client.get_tensor("y"), np.load(Path(folder, "net.npy")), 1e-3, 1e-5)
    client.run_script(script, function, ["x"], ["z"])
    np.testing.assert_array_equal(client.get_tensor("z"), rows * 2)
    assert client.model_exists("net")
    assert function in client.get_script(script)
    # Above the limit of the worker, which goes on.
    client.put_tensor("large", np.zeros(1 << 18))
    try:
        client.run_model("net", ["large"], ["y"])
    except RuntimeError as error:
        sys.stdout.write(f"{error}\n")
    client.run_script(script, function, ["y"], ["z"])
    sys.stdout.write("all is well\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
