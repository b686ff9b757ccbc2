"""A command as a user types it: in a process of its own."""

import os
import subprocess
import sys


def run(*arguments, timeout=300, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deepfake_tf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
