"""Settings from a flag, over the environment, over a TOML file, over the default.

A role's settings are a frozen dataclass whose fields are made by `setting`. For max_calls of cloud_s1:

    --max-calls 8    TWINVEIL_MAX_CALLS=8    max_calls = 8, under [cloud_s1] or at the top of the TOML file

Paths in a TOML file are relative to the file: a kit's folder may lie anywhere.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import MISSING, Field, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.start.boundary import DEBUG
from twinveil.values import integer, whole

PREFIX = "TWINVEIL_"
CONFIG = "TWINVEIL_CONFIG"

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
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    count = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < count <= 1 << 30:
        raise BadConfiguration('must be a size such as "64KiB" or "4MiB", at most "1GiB"')
    return count


def choice(*allowed: str) -> Kind:
    def kind(value: Any) -> str:
        if value not in allowed:
            raise BadConfiguration(f"must be one of {', '.join(allowed)}")
        return str(value)

    return kind


def setting(kind: Kind, help: str, default: Any = MISSING) -> Any:  # noqa: A002
    """A field of a settings dataclass: how its value is read, and what it is for."""
    metadata = {"kind": kind, "help": help}
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


def load(
    kind: type[Settings],
    section: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    known: frozenset[str] = frozenset(),
) -> Settings:
    """The settings of one role, from its command line. Raises BadConfiguration, naming what is at fault."""
    flags = vars(_parser(section, kind).parse_args(argv))
    return settle(kind, section, flags, environment, known)


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
    known = known | own.keys()
    config = flags.get("config") or environment.get(CONFIG)
    sources = [
        Source(flags, lambda name: "--" + name.replace("_", "-")),
        Source(_variables(environment, known), variable),
        *(_file(Path(config), section, known, frozenset(own)) if config else ()),
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
                raise BadConfiguration(f"--{name.replace('_', '-')} is missing: {each.metadata['help']}")
    return kind(**values)


def _convert(each: Field[Any], value: Any, where: str) -> Any:
    try:
        return each.metadata["kind"](value)
    except TwinveilError as error:
        raise BadConfiguration(f"{where}: {error}") from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _variables(environment: Mapping[str, str], known: frozenset[str]) -> dict[str, str]:
    """What the environment says; a variable that nothing reads is named in the log and stops nobody."""
    names = {variable(name): name for name in known}
    for each in environment:
        if each.startswith(PREFIX) and each not in (*names, CONFIG, DEBUG):
            log.warning("%s", _no_setting(each, {*names, CONFIG, DEBUG}, f"the environment variable {each}"))
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadConfiguration(f"{message} (--help lists the options)")


def _parser(section: str, kind: type) -> _Parser:
    parser = _Parser(
        prog=f"twinveil serve {section}",
        description=kind.__doc__,
        epilog="Every option may also be given as TWINVEIL_OPTION in the environment or in the TOML file.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for each in fields(kind):
        flag = "--" + each.name.replace("_", "-")
        shown = "" if each.default in (MISSING, None, False) else f" (default: {each.default})"
        text_ = each.metadata["help"] + shown.replace("%", "%%")
        if each.metadata["kind"] is truth:
            parser.add_argument(flag, action="store_const", const=True, help=text_)
        else:
            parser.add_argument(flag, metavar=each.name.split("_")[-1].upper(), help=text_)
    return parser
