"""Python processes without the current folder on their path: a downloaded folder may hold a json.py or numpy.py.

The package imports this module before anything else, and this module needs only modules that every Python has loaded.
So `python -m rl_detector` imports nothing from the current folder either, although Python puts it first on the path.
Places that a user names stay on the path: installed packages, PYTHONPATH and the folder of a script.
"""

import os
import sys

FLAG = "-P"
"""Option of Python that keeps the current folder off the path; unlike PYTHONSAFEPATH, programs do not inherit it."""

_NAME = "rl_detector"


def worker_path() -> list[str]:
    """Return the module path for a worker: that of this process, with an unnamed current folder moved to the end.

    Modules beside a notebook or for `python -m` are still found there. They cannot replace modules of Python or of a
    library.
    """
    named, unnamed = list[str](), list[str]()
    for index, entry in enumerate(sys.path):
        (unnamed if not entry or (index == 0 and _is_unnamed(entry)) else named).append(entry or _START)
    return [*named, *(entry for entry in dict.fromkeys(unnamed) if entry not in named)]


def named_folders() -> list[str]:
    """Return the folder of the user's own modules: that of the script, else the current one.

    A worker on another computer cannot find it by itself.
    """
    return [] if sys.flags.safe_path or not sys.path else [sys.path[0] or _START]


def _is_unnamed(entry: str) -> bool:
    """Return whether -m, -c or a prompt, not a script, has put the current folder first on the path."""
    main = sys.modules.get("__main__")
    is_script = getattr(main, "__file__", None) is not None and getattr(main, "__spec__", None) is None
    return not sys.flags.safe_path and not is_script and entry == _START and entry != _own_folder()


def _own_folder() -> str:
    """Return the folder that holds the package, which may be a checkout that is not installed."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  (pathlib is not loaded)


def _is_started_by_name(words: list[str]) -> bool:
    """Return whether these are the words of `python -m rl_detector`."""
    return any(
        option[:1] == "-" and option[-1:] == "m" and name.split(".")[0] == _NAME
        for option, name in zip(words, words[1:], strict=False)  # noqa: RUF007  (itertools may not be loaded yet)
    )


def _start_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted
        return ""


_START = _start_folder()
"""Current folder at the start of the process."""

_IS_FOUND_BY_NAME = sys.argv[:1] == ["-m"] and _is_started_by_name(sys.orig_argv)
"""Whether Python is looking for the module of `-m rl_detector`: meanwhile the first word of sys.argv is "-m"."""


if _IS_FOUND_BY_NAME and not sys.flags.safe_path and sys.path[:1] in ([""], [_START]) and _own_folder() != _START:
    del sys.path[0]
