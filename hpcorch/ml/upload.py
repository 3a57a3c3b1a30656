"""Publishing batches of training data from a simulation."""

from __future__ import annotations

import secrets

import numpy as np

from hpcorch.client.client import Client
from hpcorch.client.codecs import Tensor
from hpcorch.client.dataset import Dataset
from hpcorch.client.log import LLInfo
from hpcorch.errors import InputError, InputTypeError
from hpcorch.ml.info import DataInfo


class TrainingDataUploader:
    """Puts batches into the aggregation list `list_name`.

    The names are those of DataInfo. Any number of processes may publish into one list: no two
    batches have one name. `client` is the connection to use; without one, `address` ("ip:port") and
    `cluster` say where to connect, or else the variables of the environment (SSDB). With `verbose`
    the client's log tells of each batch.
    Raises what DataInfo and Client raise.
    """

    def __init__(
        self,
        list_name: str = "training_data",
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
        cluster: bool = True,
        address: str | None = None,
        rank: int | None = None,
        verbose: bool = False,
        client: Client | None = None,
    ) -> None:
        self.info = DataInfo(list_name, sample_name, target_name, num_classes)
        self.client = client or connect(cluster, address)
        self._verbose = verbose
        who = "" if rank is None else f"_{rank}"
        # A process that is started again must not replace what it has published before.
        self._prefix = f"{list_name}{who}_{secrets.token_hex(6)}"
        self._published = 0

    def publish_info(self) -> None:
        """Tell downloaders the names of samples and targets."""
        self.info.publish(self.client)

    def put_batch(self, samples: Tensor, targets: Tensor | None = None) -> None:
        """Publish one batch: arrays whose first axis counts the samples.

        Targets are wanted if `target_name` is another than `sample_name`, and refused if not.
        Raises InputError or InputTypeError, and what put_dataset raises.
        """
        info = self.info
        batch = Dataset(f"{self._prefix}_{self._published}")
        count = _count("samples", samples)
        batch.add_tensor(info.sample_name, samples)
        separate = info.target_name not in (None, info.sample_name)
        if separate != (targets is not None):
            raise InputError(
                f"targets is {'None' if targets is None else 'given'}: target_name is "
                f"{info.target_name!r}"
            )
        if targets is not None and info.target_name is not None:
            if _count("targets", targets) != count:
                raise InputError(f"targets has {len(targets)} rows: there are {count} samples")
            batch.add_tensor(info.target_name, targets)
        self.client.put_dataset(batch)
        # Listed only when it is there, so that whoever sees it in the list can download it.
        self.client.append_to_list(info.list_name, batch)
        if self._verbose:
            self.client.log_data(LLInfo, f"put {count} samples into the list {info.list_name}")
        self._published += 1


def connect(cluster: bool, address: str | None) -> Client:
    """Return a client of the database at `address`, or of the one that the environment names."""
    return Client() if address is None else Client(cluster, address)


def _count(field: str, value: object) -> int:
    if not isinstance(value, np.ndarray):
        raise InputTypeError(f"{field} is a {type(value).__name__}: it must be a numpy array")
    if value.ndim == 0 or len(value) == 0:
        raise InputError(f"{field} has the shape {value.shape}: it must hold at least one row")
    return len(value)
