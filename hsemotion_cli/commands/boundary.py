"""The only place where an error becomes a message and an exit code."""

import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from ..errors import HsemotionError, OutputError
from ..runtime.terminal import logging_to, say

EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 usage, 3 some inputs or results failed, 4 no usable input, "
    "5 a model is missing, 6 coverage below --min-coverage, 130 interrupted."
)


def boundary(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command raises into one sentence on stderr, in the file of ``--log`` if given, and an exit code."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        try:
            with logging_to(options.get("log")):
                code = _code(command, options)
        except OutputError as error:  # the log itself
            say(str(error))
            code = error.exit_code
        raise typer.Exit(code)

    return run


def _code(command: Callable[..., int | None], options: dict[str, Any]) -> int:
    try:
        return command(**options) or 0
    except HsemotionError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; nothing was left half-written.")
        return 130
    except BrokenPipeError:
        # The reader of our output has closed it, as head does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError:
        say("there is not enough memory for this; free some, or give smaller or fewer files.")
        return OutputError.exit_code
    except Exception as error:
        if os.environ.get("HSEMOTION_DEBUG"):
            raise
        say(f"a bug: {type(error).__name__}: {error}. Please report it with what HSEMOTION_DEBUG=1 prints.")
        return 1
