"""Shards: the share of one process among several that work on the same inputs, on one machine or many."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard ``index`` (from 1) of ``count``.

    A place belongs to shard 1 + (the first eight bytes of the SHA-256 of its UTF-8 form, big-endian) mod ``count``.
    Places lie below the output folder, so that the split is the same wherever the inputs are mounted.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8".

        Raises:
            UsageError: it is not such a fraction.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard {text}: write it as 2/8, the second of eight; the first is 1/8.")
        return cls(int(match[1]), int(match[2]))

    def has(self, place: str) -> bool:
        """Whether a place belongs to this shard."""
        digest = hashlib.sha256(os.fsencode(place)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    @property
    def suffix(self) -> str:
        """Distinguishes its files from those of the others: ".2of8", or "" if there is only one."""
        return "" if self.count == 1 else f".{self.index}of{self.count}"

    def excludes(self, other: Shard) -> bool:
        """Whether both might work on the same input."""
        return self.count != other.count or self.index == other.index
