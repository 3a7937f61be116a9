"""Configuration of Sphinx: `make docs` builds docs/_build/html; every warning is an error."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

os.environ["EXPERIMENTS"] = str(HERE.parent / "experiments")  # tutorials copy their examples from here
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # rl-detector of this Python
os.environ["COLUMNS"] = "110"  # width of tables that commands print
os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="rl_detector_docs_")
startup = Path(os.environ["IPYTHONDIR"]) / "profile_default" / "startup"
startup.mkdir(parents=True)
shutil.copy(HERE / "_ext" / "whole_output.py", startup)
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

project = "rl_detector"
author = "The rl_detector developers"
copyright = author
release = version = "0.1.0"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "markdown_docstrings", "generated_pages"]
exclude_patterns = ["_build", "_ext", "_generated/*.md", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = "rl_detector"
html_theme_options = {"light_css_variables": {"code-font-size": "0.75rem"}}
html_static_path: list[str] = []
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_execution_show_tb = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore_regex = [
    # Other libraries: their documentation is not here, and building needs no network.
    ("py:.*", r"(numpy|np|torch|gymnasium|gym|spaces|collections|concurrent|pathlib|typing|scipy|abc)\b.*"),
    ("py:.*", r"(NDArray|ArrayLike|Path|Any|Callable|Iterable|Iterator|Mapping|Sequence|Protocol|NamedTuple).*"),
    # Not of the public API: they stand in signatures only.
    (
        "py:.*",
        r"rl_detector\..*\.(Trial|Evaluator|Judge|Progress|Action|PartialDesign|Mask"
        r"|Config|Start|Claim|Loop|Contexts|Flow)",
    ),
    # Abbreviations of types.
    ("py:.*", r"(.*\.)?(FloatArray|IntArray|BoolArray|Atom|MakeAgent|CostRange|Potential|MayFit|Evaluations)"),
]
