"""How a cluster's 16384 hash slots are split, and which slot a key belongs to."""

from __future__ import annotations

import binascii
import hashlib
import itertools

SLOT_COUNT = 16384


def ranges(shards: int) -> tuple[tuple[int, int], ...]:
    """Split all slots over `shards` (1 to 16384) as evenly as possible; ends are inclusive."""
    edges = [SLOT_COUNT * index // shards for index in range(shards + 1)]
    return tuple((low, high - 1) for low, high in itertools.pairwise(edges))


def node_id(deployment: str, shard: int) -> str:
    """Return the 40 hex digits that name a shard in its cluster, the same on every call."""
    return hashlib.sha1(f"{deployment}/{shard}".encode(), usedforsecurity=False).hexdigest()


def key_slot(key: bytes) -> int:
    """Return the slot of `key`: CRC16 (XMODEM) of its hash tag, or of all of it without one."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOT_COUNT
