"""Start-up file of the kernels that run the pages: `%%bash` prints what its commands say in one piece.

IPython's own magic passes it on in pieces of 100 characters, between which a page breaks the lines.
"""

import subprocess
import sys

from IPython import get_ipython


def bash(line: str, cell: str) -> None:
    """Run a cell with bash; a command that fails stops the page."""
    done = subprocess.run(["bash", "-e", "-c", cell], capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise RuntimeError(f"the cell ended with exit code {done.returncode}")


get_ipython().register_magic_function(bash, "cell")
