"""papermill, which SIGTERM interrupts as Ctrl-C does: its kernel is told, and saves its step.

Left to itself, papermill dies of SIGTERM without a word to the kernel, which is no part of its
process group and ends abruptly a second later.
"""

import signal
import sys

from papermill.cli import papermill


def interrupt(*_) -> None:
    """Ends papermill in order: as it leaves, it interrupts the kernel and waits for it."""
    print("SIGTERM: the kernel saves its step; the same command resumes", file=sys.stderr)
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    papermill()
