"""Numbers on the command line have the one form of twinveil.values: typer alone takes 1_000, ٣ and nan."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, get_args

import typer

from twinveil.errors import BadInput
from twinveil.values import decimal, whole

FORMS: dict[Any, tuple[Callable[[str], object], str]] = {
    int: (whole, "a whole number"),
    float: (decimal, "a number"),
}


def with_strict_numbers(command: Any) -> Any:
    """The command itself, and those below it: typer's, of whatever version."""
    for inner in getattr(command, "commands", {}).values():
        with_strict_numbers(inner)
    if command.callback is not None:
        known = signature(command.callback, eval_str=True).parameters
        for option in command.params:
            kind = _number(known[option.name].annotation) if option.name in known else None
            if kind is not None:
                option.process_value = _checked(option, *FORMS[kind])
    return command


def key_sizes(text: str) -> list[int]:
    """Key sizes from "2048,3072". Raises BadInput."""
    try:
        return [whole(each.strip()) for each in text.split(",")]
    except ValueError:
        raise BadInput(f"key sizes are numbers with commas between, not {text!r}") from None


def _number(annotation: Any) -> Any:
    """int or float if an annotation such as Annotated[int | None, ...] means numbers, else None."""
    inner = next(iter(get_args(annotation)), None)
    return annotation if annotation in FORMS else None if inner is None else _number(inner)


def _checked(option: Any, read: Callable[[str], object], what: str) -> Callable[[Any, Any], Any]:
    process = option.process_value

    def checked(ctx: Any, value: Any) -> Any:
        for each in value if isinstance(value, list | tuple) else [value]:
            try:
                if isinstance(each, str):
                    read(each)
            except ValueError:
                raise typer.BadParameter(f"{each[:40]!r} is not {what}.", ctx, option) from None
        return process(ctx, value)

    return checked
