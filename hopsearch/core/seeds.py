"""Deterministic seeds derived from a few words, identical on every machine and in every process."""

import hashlib


def derive(*words: object) -> int:
    """A seed in [0, 2**31) from any words, e.g. ``derive(study_seed, trial_number)``.

    A hash, not a sum: neighbouring studies and trials get unrelated seeds.
    """
    text = "/".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF
