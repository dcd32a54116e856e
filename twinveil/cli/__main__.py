"""python -m twinveil.cli: the command `twinveil` where it is not on the PATH."""

from __future__ import annotations

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

from twinveil.cli.main import main

if __name__ == "__main__":
    main()
