"""What ``hsemotion batch --format csv,elan,bids`` does beyond tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..analysis.rules import Rules
from ..batch.exporting import ExportPlan, export_recording
from ..batch.messages import Outcome, Task
from ..batch.shards import Shard
from ..errors import HsemotionError, InputError, UsageError
from ..exports.catalogue import FORMATS
from ..exports.record import RECORD, read_record
from ..exports.segments import with_intervals
from ..exports.source_table import SourceTable, open_table
from ..exports.writing import check, export
from ..formats.output_names import output_names
from ..runtime.terminal import say
from .defaults import CHOSEN


class BatchExports:
    """The exports of a batch.

    Workers export a recording as soon as its table is written. Here, what an earlier run left is exported, and, when
    everything is annotated, the formats that hold all recordings together.

    Args:
        out: the output folder.
        targets: of ``FORMATS``.
        table: suffix of the tables to read.
        overwrite: also replace files that no export wrote.

    Attributes:
        plan: what is exported of each recording.
    """

    def __init__(self, out: Path, targets: Sequence[str], table: str, overwrite: bool) -> None:
        self._out, self._overwrite = out, overwrite
        self._together = [target for target in targets if FORMATS[target].together]
        self.plan = ExportPlan(tuple(t for t in targets if not FORMATS[t].together), table, overwrite)

    def check(self, tasks: Sequence[Task], cut: Shard, formats: Sequence[str]) -> None:
        """Make sure, before any work, that these exports can be made.

        Args:
            tasks: of all shards.
            formats: of the tables.

        Raises:
            UsageError: they cannot.
        """
        if self._together and cut.suffix:
            names = ",".join(self._together)
            raise UsageError(
                f"--format {names}: holds all recordings, and a shard has only some of them; run hsemotion export when "
                "all shards are done."
            )
        if not self.plan.formats:
            return
        kinds = (formats, True)
        taken = {task.folder(self._out) / name for task in tasks for name in output_names(task.name, *kinds).values()}
        for task in tasks:
            for name in self.plan.files(task.name).values():
                if task.folder(self._out) / name in taken:
                    raise UsageError(
                        f"{task.path}: its export {name} would have the name of another recording's result; rename one "
                        "of the two."
                    )

    def missing(self, task: Task) -> tuple[str, ...]:
        """The formats that a finished recording lacks."""
        return self.plan.missing(task, self._out)

    def catch_up(self, outcome: Outcome) -> dict[str, object]:
        """Export what a recording lacks that was annotated earlier; returns facts of its outcome."""
        if not self.plan.formats:
            return {}
        return export_recording(outcome.task, self._out, self.plan, self.missing(outcome.task))

    def finish(self, settled: Sequence[Outcome]) -> list[HsemotionError]:
        """Make the exports that hold all recordings together, unless they are there; returns the errors, printed."""
        usable = [outcome for outcome in settled if outcome.state in ("done", "skipped")]
        tables = [o.task.folder(self._out) / f"{o.task.name}.{self.plan.table}" for o in usable]
        if not self._together or not tables or self._there(tables):
            return []
        failures: list[HsemotionError] = []
        opened = (
            self._opened(table, Path(outcome.task.path).parent, failures)
            for table, outcome in zip(tables, usable, strict=True)
        )
        recordings = [recording for recording in opened if recording is not None]
        try:
            check(recordings, self._together, self._out, self._overwrite)
            done = export(recordings, self._together, self._out, None, dict(CHOSEN.get()))
            failures += [error for _, error in done.failures]
        except HsemotionError as error:
            failures.append(error)
        for failure in failures:
            say(str(failure))
        return failures

    def _opened(self, table: Path, media: Path, failures: list[HsemotionError]) -> SourceTable | None:
        try:
            recording = open_table(table, media=media)
            needed = not recording.photos and any(FORMATS[target].intervals for target in self._together)
            return with_intervals(recording, Rules()) if needed else recording
        except InputError as error:
            failures.append(error)
            return None

    def _there(self, tables: Sequence[Path]) -> bool:
        """Whether an earlier run made these exports of the very same tables."""
        record = self._out / RECORD
        content = read_record(record)
        return (
            bool(content)
            and set(self._together) <= set(content["exported"])
            and content["tables"].keys() >= {table.stem for table in tables}
            and all((self._out / path).is_file() for path in content["files"])
            and all(table.stat().st_mtime_ns < record.stat().st_mtime_ns for table in tables)
        )
