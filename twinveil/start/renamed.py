"""Names that were others before: an old one goes on for one release, and a line on stderr says the new one.

A setting says by `was` what it was called (twinveil.start.config); verbs stand in twinveil.cli.main.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from twinveil.wording import visible

log = logging.getLogger(__name__)


def hint(old: str, new: str) -> None:
    """Says it to whoever has used the old name."""
    log.warning("%s", visible(f"{old} is now {new}; the old name goes with the next release"))


def with_new_names(words: Sequence[str], flags: Mapping[str, str]) -> list[str]:
    """A command line's words, each old flag by its new name, with or without =VALUE. flags: old -> new."""
    result = list(words)
    for place, word in enumerate(words):
        flag, *value = word.partition("=")
        if flag in flags:
            hint(flag, flags[flag])
            result[place] = "".join([flags[flag], *value])
    return result
