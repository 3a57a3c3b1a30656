"""The tags are those that SmartRedis uses, and lead to the shard."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from hpcorch.client.shardtags import shard_tag


@pytest.mark.parametrize(
    ("slot", "tag"),
    # As recorded from SmartRedis; the last two bytes of slot 9 would be a brace and another.
    [(0, b"\x00\x00"), (5461, b"8M"), (10923, b"\xed\xeb"), (9, b"\x01&\\"), (146, b"\x11\x7f`")],
)
def test_tags_are_those_of_smartredis(slot, tag):
    assert shard_tag(slot) == tag


@pytest.mark.parametrize("slot", [*range(0, 16384, 1001), 16383])
def test_a_tag_leads_to_its_slot(slot):
    assert key_slot(b"{%b}.model" % shard_tag(slot)) == slot


def test_there_is_no_tag_for_what_is_no_slot():
    with pytest.raises(ValueError, match="65536"):
        shard_tag(65536)
