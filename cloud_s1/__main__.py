"""python -m cloud_s1: serves until it is told to stop."""

from __future__ import annotations

import sys

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

from cloud_s1.services import build
from twinveil.start.role import run
from twinveil.start.settings import CloudS1Settings

if __name__ == "__main__":
    sys.exit(run(CloudS1Settings, build))
