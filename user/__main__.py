"""python -m user: serves until it is told to stop."""

from __future__ import annotations

import sys

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

from twinveil.start.role import run
from twinveil.start.settings import UserSettings
from user.services import build

if __name__ == "__main__":
    sys.exit(run(UserSettings, build))
