"""The program of README.md's session on Slurm: puts a tensor and sums it."""

import socket

import numpy as np

from hpcorch import Client, ConfigOptions

client = Client(ConfigOptions.create_from_environment("db"))
client.put_tensor("field", np.arange(6.0).reshape(2, 3))
print(socket.gethostname(), client.get_tensor("field").sum())  # noqa: T201
