"""What the batches of a list look like, told by those who publish to those who download."""

from __future__ import annotations

from hpcorch.client.client import Client
from hpcorch.client.dataset import Dataset
from hpcorch.errors import InputError, InputTypeError

_LABELS = ("sample_name", "target_name")


class DataInfo:
    """The names of the samples and the targets in each batch of the list `list_name`.

    Without targets `target_name` is None; where it is `sample_name`, samples are their own targets,
    as for an autoencoder. `num_classes` is how many classes the targets name, None if they do not.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        list_name: str = "training_data",
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
    ) -> None:
        self.list_name = _text("list_name", list_name)
        self.sample_name = _text("sample_name", sample_name)
        self.target_name = None if target_name is None else _text("target_name", target_name)
        self.num_classes = None if num_classes is None else whole("num_classes", num_classes, 1)

    def __repr__(self) -> str:
        held = (self.list_name, self.sample_name, self.target_name, self.num_classes)
        return "DataInfo({!r}, {!r}, {!r}, {!r})".format(*held)

    @property
    def dataset_name(self) -> str:
        """The name of the dataset that holds this information."""
        return f"{self.list_name}_info"

    def publish(self, client: Client) -> None:
        """Store this information in the database."""
        held = Dataset(self.dataset_name)
        for label in _LABELS:
            value = getattr(self, label)
            if value is not None:
                held.add_meta_string(label, value)
        if self.num_classes is not None:
            held.add_meta_scalar("num_classes", self.num_classes)
        client.put_dataset(held)

    def download(self, client: Client) -> None:
        """Take over what was published for `list_name`; raises RedisKeyError if nothing was."""
        held = client.get_dataset(self.dataset_name)
        fields = held.get_metadata_field_names()
        self.sample_name = held.get_meta_strings("sample_name")[0]
        self.target_name = (
            held.get_meta_strings("target_name")[0] if "target_name" in fields else None
        )
        self.num_classes = (
            int(held.get_meta_scalars("num_classes")[0]) if "num_classes" in fields else None
        )


def whole(field: str, value: object, minimum: int) -> int:
    """Return `value` if it is a whole number from `minimum` on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputTypeError(f"{field} is {value!r}, a {type(value).__name__}: it must be a number")
    if value < minimum:
        raise InputError(f"{field} is {value!r}: it must be {minimum} or more")
    return value


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputTypeError(f"{field} is {value!r}, a {type(value).__name__}: it must be text")
    if not value:
        raise InputError(f"{field} is '': it must not be empty")
    return value
