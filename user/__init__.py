"""The user. `user.classify(...)` is the Python call; its module is loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user.client import Classification, Client, Model, classify
    from user.contact import Contact

__all__ = ["Classification", "Client", "Contact", "Model", "classify"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("user.contact" if name == "Contact" else "user.client"), name)
