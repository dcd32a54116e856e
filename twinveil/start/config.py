"""Settings from a flag, over the environment, over a TOML file, over the default.

A role's settings are a frozen dataclass whose fields are made by `setting`. For max_calls of cloud_s1:

    --max-calls 8    TWINVEIL_MAX_CALLS=8    max_calls = 8, under [cloud_s1] or at the top of the TOML file

Paths in a TOML file are relative to the file: a kit's folder may lie anywhere.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Set
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.native import VARIABLE
from twinveil.start.boundary import DEBUG
from twinveil.start.renamed import hint
from twinveil.values import integer, whole

PREFIX = "TWINVEIL_"
CONFIG = "TWINVEIL_CONFIG"
CLUSTER = "TWINVEIL_CLUSTER"
"""The folder of a local cluster (twinveil.start.local_folder)."""
_NO_SETTINGS = {CONFIG, CLUSTER, DEBUG, VARIABLE}
"""Variables beside those of settings."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)?")
_SIZE = re.compile(r"([0-9]{1,16}) ?(B|KiB|MiB|GiB)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

log = logging.getLogger(__name__)

Settings = TypeVar("Settings")
Kind = Callable[[Any], Any]


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise BadConfiguration("must be a text")
    return value


def path(value: Any) -> Path:
    """Any that the system takes: folders may have no-break spaces and line breaks in their names."""
    if not isinstance(value, str | PathLike) or not (name := os.fspath(value)) or "\0" in name:
        raise BadConfiguration("must be a path")
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~somebody, whom this machine does not know
        raise BadConfiguration("names a home folder that is not there: write the path out") from None


def number(value: Any, low: int = 0, high: int = 1 << 31) -> int:
    """A whole number from low to high."""
    try:
        result = whole(value) if isinstance(value, str) else integer(value)
    except (ValueError, TypeError):
        raise BadConfiguration("must be a whole number") from None
    if not low <= result <= high:
        raise BadConfiguration(f"must be from {low} to {high}, not {result}")
    return result


def positive(value: Any) -> int:
    return number(value, low=1)


def up_to(high: int, low: int = 0) -> Kind:
    """A whole number from low to high."""
    return lambda value: number(value, low, high)


def truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    result = value if isinstance(value, bool) else words.get(str(value).lower())
    if result is None:
        raise BadConfiguration("must be true or false")
    return result


def duration(value: Any) -> float:
    """Seconds, of 30, "30s", "500ms", "2m" or "1h"; more than 0, at most a day."""
    match = None if isinstance(value, bool) else _DURATION.fullmatch(str(value))
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= 86_400:
        raise BadConfiguration('must be a time such as "30s", "500ms" or "2m"')
    return seconds


def size(value: Any) -> int:
    """Bytes, of 4096, "64KiB", "4MiB" or "1GiB"; more than 0, at most 1 GiB: gRPC counts in 31 bits."""
    return _bytes(value, 1)


def memory(value: Any) -> int:
    """Bytes, likewise; at most 1024 GiB."""
    return _bytes(value, 1 << 10)


def _bytes(value: Any, gib: int) -> int:
    """At most so many GiB."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    count = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < count <= gib << 30:
        raise BadConfiguration(f'must be a size such as "64KiB" or "4MiB", at most "{gib}GiB"')
    return count


def choice(*allowed: str) -> Kind:
    def kind(value: Any) -> str:
        if value not in allowed:
            raise BadConfiguration(f"must be one of {', '.join(allowed)}")
        return str(value)

    return kind


def setting(kind: Kind, help: str, default: Any = MISSING, was: str | None = None) -> Any:  # noqa: A002
    """A field of a settings dataclass: how its value is read, what it is for, what it was called before."""
    metadata = {"kind": kind, "help": help, "was": was}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Source:
    """One place that settings come from; `name` says for a person which value it was.

    folder: what its paths are relative to.
    """

    values: Mapping[str, Any]
    name: Callable[[str], str]
    folder: Path = Path()


def settle(
    kind: type[Settings],
    section: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    known: frozenset[str] = frozenset(),
) -> Settings:
    """The settings of one role, from flags already parsed (None: not given; `config`: the TOML file).

    section: the role's table in the TOML file. known: settings of other roles, which the environment and the
    top of the file may hold, too. Raises BadConfiguration, naming the flag, variable or key at fault.
    """
    own = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    new_names = renamed(kind)
    names = frozenset(own) | new_names.keys()
    known = known | names
    config = flags.get("config") or environment.get(CONFIG)
    sources = [
        _by_new_names(each, new_names)
        for each in (
            Source(flags, flag),
            Source(_meant(_variables(environment, known), own, new_names), variable),
            *(_file(Path(config), section, known, names) if config else ()),
        )
    ]
    values = {}
    for name, each in own.items():
        for source in sources:
            if source.values.get(name) is not None:
                value = _convert(each, source.values[name], source.name(name))
                values[name] = source.folder / value if isinstance(value, Path) else value
                break
        else:
            if each.default is MISSING:
                raise BadConfiguration(f"{flag(name)} is missing: {each.metadata['help']}")
    return kind(**values)


def _convert(each: Field[Any], value: Any, where: str) -> Any:
    try:
        return each.metadata["kind"](value)
    except TwinveilError as error:
        raise BadConfiguration(f"{where}: {error}") from None


def renamed(kind: type) -> dict[str, str]:
    """Of the settings that had other names before: old -> new."""
    return {each.metadata["was"]: each.name for each in fields(kind) if each.metadata.get("was")}


def _by_new_names(source: Source, new_names: Mapping[str, str]) -> Source:
    """The same settings, those by an old name under the new one; where both are given, the new one counts."""
    values = {name: value for name, value in source.values.items() if value is not None}
    for old, new in new_names.items():
        if old in values:
            hint(source.name(old), source.name(new))
            values.setdefault(new, values[old])
    return replace(source, values=values)


def _meant(
    variables: Mapping[str, Any], own: Mapping[str, Field[Any]], new_names: Mapping[str, str]
) -> dict[str, Any]:
    """Without those that have a setting's old name and mean something else by now: what it cannot be."""
    return {
        name: value
        for name, value in variables.items()
        if name not in new_names or _can_be(own[new_names[name]], value)
    }


def _can_be(each: Field[Any], value: Any) -> bool:
    try:
        each.metadata["kind"](value)
    except TwinveilError:
        return False
    return True


def flag(name: str) -> str:
    """The command line option of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _variables(environment: Mapping[str, str], known: frozenset[str]) -> dict[str, str]:
    """What the environment says; a variable that nothing reads is named in the log and stops nobody."""
    names = {variable(name): name for name in known}
    for each in environment:
        if each.startswith(PREFIX) and each not in (*names, *_NO_SETTINGS):
            log.warning("%s", _no_setting(each, {*names, *_NO_SETTINGS}, f"the environment variable {each}"))
    return {name: environment[each] for each, name in names.items() if each in environment}


def read_toml(file: Path) -> dict[str, Any]:
    """Raises BadConfiguration for a file that cannot be read or is no TOML."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # some editors put a mark first
        _check_integers(content)
        return content
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # tomllib raises more than its own
        raise BadConfiguration(f"{file}: no TOML: {error}") from None


def _check_integers(value: Any) -> None:
    """TOML has integers of 64 bits; tomllib reads any. Raises ValueError."""
    match value:
        case dict():
            _check_integers(list(value.values()))
        case list():
            for each in value:
                _check_integers(each)
        case int() if abs(value) >> 64:
            raise ValueError("an integer of more than 64 bits")


def _file(file: Path, section: str, known: frozenset[str], own: frozenset[str]) -> tuple[Source, Source]:
    content = read_toml(file)
    top = {name: value for name, value in content.items() if not isinstance(value, dict)}
    table = content.get(section)
    table = table if isinstance(table, dict) else {}  # an address of the same name is at the top
    for name in top:
        refuse_unknown(name, known, f"{file}: the key '{name}'")
    for name in table:
        refuse_unknown(name, own, f"{file}: the key '{name}' in [{section}]")
    return (
        Source(table, lambda name: f"{file}: [{section}] {name}", file.parent),
        Source(top, lambda name: f"{file}: {name}", file.parent),
    )


def refuse_unknown(name: str, known: frozenset[str], what: str) -> None:
    """Raises BadConfiguration, with the setting that may have been meant."""
    if name not in known:
        raise BadConfiguration(_no_setting(name, known, what))


def _no_setting(name: str, known: Set[str], what: str) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{what} is no setting" + (f": did you mean '{close[0]}'?" if close else "")
