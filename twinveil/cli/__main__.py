"""python -m twinveil.cli: the command `twinveil` where it is not on the PATH."""

from __future__ import annotations

from twinveil.cli.main import main

main()
