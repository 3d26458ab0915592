"""What can go wrong, as one family; each kind knows the exit code that ``cli`` turns it into.

HsemotionError (1, a bug if it is seen bare)
|-- UsageError         2  an option or a combination of options makes no sense
|-- OutputError        3  a result could not be written
|-- InputError         4  an input cannot be used (3 when other inputs could)
|-- ModelUnavailable   5  a model file is missing and may not be fetched, or is not what it should be
`-- LowCoverage        6  faces were seen in fewer frames than the user asked for
"""

from __future__ import annotations

from collections.abc import Sequence


class HsemotionError(Exception):
    """The base class of every error that is shown to the user as one sentence."""

    exit_code = 1


class UsageError(HsemotionError):
    """An option's value, or a combination of options, that cannot work."""

    exit_code = 2


class OutputError(HsemotionError):
    """A result that could not be written; whatever had been there before is still there."""

    exit_code = 3


class InputError(HsemotionError):
    """An input that cannot be used at all."""

    exit_code = 4


class ModelUnavailable(HsemotionError):
    """A model file that is missing and may not be fetched, or that does not match its checksum."""

    exit_code = 5


class LowCoverage(HsemotionError):
    """Faces were seen in a smaller share of frames than ``--min-coverage`` asks for."""

    exit_code = 6

    @classmethod
    def of(cls, source: str, coverage: float, least: float) -> LowCoverage:
        """The error of one source.

        Args:
            coverage: share of its frames in which a face was seen.
            least: what ``--min-coverage`` asks for.
        """
        return cls(f"{source}: a face was seen in {coverage:.1%} of its frames, below --min-coverage {least:g}.")


class HsemotionWarning(UserWarning):
    """What the Python interface warns of where the command line prints a sentence, such as a video cut short."""


def shortened(text: str, most: int = 600) -> str:
    """A sentence without its middle, where it quotes something that has no end."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def exit_code_of(failures: Sequence[HsemotionError], *, some_succeeded: bool) -> int:
    """Exit code of a run over several inputs: 0 without failures, else that some failed.

    Where nothing came of anything, the first reason names the code.
    """
    if not failures:
        return 0
    return OutputError.exit_code if some_succeeded else failures[0].exit_code
