"""docs/spec.md tells every key."""

from __future__ import annotations

import pytest

from hpcorch.spec import attachments, entities, reader, settings
from tests.helpers import ROOT

PAGE = (ROOT / "docs/spec.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "keys",
    [
        reader.EXPERIMENT_KEYS,
        entities.DATABASE_KEYS,
        entities.MODEL_KEYS,
        entities.ENSEMBLE_KEYS,
        entities.ENSEMBLE_FILE_KEYS,
        entities.UDS_KEYS,
        settings.RUN_KEYS,
        settings.BATCH_KEYS,
        settings.CONTAINER_KEYS,
        attachments.ML_MODEL_KEYS,
        attachments.SCRIPT_KEYS,
        attachments.FUNCTION_KEYS,
        attachments.WORKER_KEYS,
    ],
)
def test_every_key_is_told(keys: tuple[str, ...]) -> None:
    told = PAGE.partition("## All keys")[2].partition("## A complete example")[0]
    missing = [key for key in keys if f"`{key}" not in told and f".{key}]" not in told]
    assert not missing
