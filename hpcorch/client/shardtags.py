"""The hash tags by which SmartRedis keeps a copy of every model on every shard of a cluster."""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache

# A longer tag was never needed for any of the 16384 slots.
_MOST_SPARE_BITS = 8


@cache
def shard_tag(first_slot: int) -> bytes:
    """Return the tag of the shard whose lowest slot is `first_slot`: a model is `{tag}.name`.

    These are the two bytes with that CRC16. If one of them is a brace, it is the first number of
    three bytes with that CRC16 and no brace that ends in one zero bit, or in two, and so on.
    """
    for spare in range(_MOST_SPARE_BITS + 1):
        for number in range(0, 1 << (16 + spare), 1 << spare):
            tag = number.to_bytes(3 if spare else 2, "big")
            if crc_hqx(tag, 0) == first_slot:
                if b"{" not in tag and b"}" not in tag:
                    return tag
                break
    raise ValueError(f"there is no tag for slot {first_slot}")
