"""Parts of this package that are installed by name: what to type for a module that is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

_PACKAGE = "twinveil"
_FOR_DEVELOPERS = "dev"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*\bextra == ['\"]([a-z]+)['\"])?")
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "python_multipart": "python-multipart",
    "js_lib_htmx": "django-js-lib-htmx",
    "google": "protobuf",
    "nacl": "pynacl",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "PIL": "pillow",
}
"""Modules that have another name than the distribution they come with."""


def remedy(module: str) -> str | None:
    """The command that brings a module, by what the package's metadata requires; None if it requires none.

    module: its full name, as in ModuleNotFoundError.
    """
    top = module.partition(".")[0]
    wanted = _DISTRIBUTIONS.get(top, top.lower())
    try:
        known = [_REQUIREMENT.match(each) for each in requires(_PACKAGE) or ()]
    except PackageNotFoundError:  # run from its source
        return None
    extras = {match[2] for match in known if match and match[1].lower() == wanted} - {_FOR_DEVELOPERS}
    if not extras:
        return None
    extra = min(each or "" for each in extras)
    return f"pip install '{_PACKAGE}[{extra}]'" if extra else f"pip install {_PACKAGE}"


def needs(what: str, module: str) -> str:
    """For a person: what it is that cannot be done, the module that it lacks, and what to type."""
    command = remedy(module)
    return f"{what} needs {module}" + (f": {command}" if command else ", which is not there")
