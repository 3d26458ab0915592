"""The engine that uses a Ray cluster: one actor is one worker, on any machine that has room for it.

Only paths and small records travel. All machines see the sources and the output folder at the same places and have the
same versions; both are checked before the first video. Ray's own fault handling is not used: ``worker_pool`` decides
what is tried again, and when, as it does for the workers of one machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..errors import OutputError, UsageError
from ..runtime import resources
from ..runtime.atomic_files import name_failed_file, remove_leftovers, temporary
from ..runtime.whole_numbers import whole_number
from .engine import Report
from .messages import Ended, FromActor, Hello, Message, Outcome, ProtocolError, Task, decode
from .ray_actor import NodeRequirements, RayActor, inspect_node, missing, reports_usage, versions
from .ray_local import LocalCluster
from .worker import WorkerConfig
from .worker_pool import GRACE, Fetching, PooledWorker, WorkerPool
from .worker_process import KILLED, MISUNDERSTOOD

_ANSWER = 5.0  # seconds in which a machine that works answers, beyond the time of what it was asked to do
_INSPECT = 120.0  # seconds that the check of a machine may take; it starts a process
_PATIENCE = 10.0  # seconds without any worker after which the user is told
_COUNT = 10.0  # seconds between two counts of the workers that fit the cluster
_SILENT = 4  # failed counts in a row after which the head is given up, before Ray ends this process without a word
_SAMPLES = 100  # sources that every machine must see
_HEAD = "node:__internal_head__"


class RayEngine(WorkerPool):
    """Workers on the machines of a Ray cluster.

    Args:
        config: given to each worker; its ``threads`` are also the CPUs that Ray reserves for each.
        address: of the cluster; "auto" for the one that runs on this machine, "local" for one that is started here and
            ends with the engine.
        workers: most of them; None for as many as the cluster has room for, also when machines join later.
        gpus: for each worker; may be a fraction.
        memory: GB for each worker.
        tell: receives sentences that the user should read.
        out, timeout, retries, fetching: as ``WorkerPool``.

    Raises:
        UsageError: on entering: there is no such cluster, it has no room, its machines do not share the output folder,
            or have not the same versions. When it runs: a machine does not see the sources.
        OutputError: when it runs: the head of the cluster is gone.
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, config: WorkerConfig, out: Path, *, address: str = "auto", workers: int | None = None, gpus: float = 0.0,
        memory: float = resources.USUAL_MEMORY, timeout: float | None = None, retries: int = 1,
        fetching: Fetching | None = None, tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:  # fmt: skip
        out = Path(os.path.abspath(out))
        super().__init__(out, workers=workers or 1, timeout=timeout, retries=retries, fetching=fetching)
        self._config, self._address, self._fixed, self._tell = config, address, workers is not None, tell
        self._needs = {"CPU": float(config.threads), "GPU": gpus, "memory": memory * 1e9}
        self._token = temporary(out / secrets.token_hex(8))
        own = {name: value for name, value in os.environ.items() if name.startswith("HSEMOTION_")}
        self._local: LocalCluster | None = None
        if address == "local":
            own["HOME"] = os.path.expanduser("~")
        self._requirements = NodeRequirements(out, self._token.name, os.getcwd(), own)
        self._lost: list[_RemoteWorker] = []
        self._nodes: list[str] = []
        self._head = ""
        self._counted = self._well = 0.0
        self._silent = 0

    def __enter__(self) -> RayEngine:
        try:
            if self._address == "local":
                self._local = LocalCluster()
            self._head = _connect(self._address, self._local)
            with name_failed_file(self._token):
                self._token.touch()
            found = self._inspect()
            # The driver runs no network: its libraries may have other versions.
            here = {"host": socket.gethostname(), "versions": versions()}
            _check_versions([here, *found], ("version", "python"))
            self._actor = ray.remote(RayActor)
            self._config_ref = ray.put(self._config)
            self._well = time.monotonic()
            self._start_first()
            _check_versions(found, self.settings.get("tool", {}))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._shut_down()
        for worker in self._lost:  # once more, now that they have surely ended
            worker.clean(self._out)
        self._token.unlink(missing_ok=True)
        ray.shutdown()
        if self._local is not None and not self._local.remove():
            self._tell(f"{self._local.folder}: temporary files of Ray could not be removed; delete the folder.")

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """See ``Engine``."""
        self._check_sources(tasks)
        yield from super().run(tasks, report)

    def _inspect(self) -> list[dict[str, Any]]:
        """Check every machine that may get a worker; returns what ``inspect_node`` found on each."""
        self._nodes = [node["NodeID"] for node in _alive() if self._fits(node["Resources"])]
        if not self._nodes:
            raise UsageError(
                f"no machine of the cluster has {self._needs_in_words()} for a worker; it has "
                f"{_resources_in_words()}. Change --threads, --gpus-per-worker, --memory, or what ray start was given."
            )
        self._count_room()
        found = _everywhere(self._nodes, inspect_node, self._requirements)
        for node in found:
            if node["refused"]:
                raise UsageError(node["refused"])
        if self._address != "local":
            self._warn_of_reports()
        return found

    def _warn_of_reports(self) -> None:
        heads = [node["NodeID"] for node in _alive() if _HEAD in node["Resources"]]
        try:
            reports = any(_everywhere(heads, reports_usage))
        except UsageError:  # a head that runs no workers may lack hsemotion
            return
        if reports:
            self._tell(
                "this Ray cluster reports its usage over the network (versions, sizes and counts); it can be switched "
                "off where its head starts, see docs/cluster.md."
            )

    def _check_sources(self, tasks: Sequence[Task]) -> None:
        every = max(len(tasks) // _SAMPLES, 1)
        here = [task.path for task in tasks[::every] if os.path.exists(task.path)]
        for lacks in _everywhere(self._nodes, missing, self._requirements.folder, here):
            if lacks["paths"]:
                raise UsageError(
                    f"{lacks['paths'][0]}: {lacks['host']} does not see it; mount the sources at the same place "
                    "everywhere, and give them by paths that mean the same there."
                )

    def _start_worker(self) -> _RemoteWorker:
        options = {"num_cpus": self._needs["CPU"], "num_gpus": self._needs["GPU"], "memory": self._needs["memory"]}
        # No restarts by Ray: an actor that comes back would have to be checked again. Two calls at the same time: one
        # passes on the worker's messages, the other may stop it.
        actor = self._actor.options(
            **options, max_restarts=0, max_task_retries=0, max_concurrency=2, scheduling_strategy="SPREAD"
        ).remote(self._config_ref, self._requirements)
        return _RemoteWorker(actor, self._lost)

    def _wait(self, seconds: float) -> None:
        streams = {worker.stream: worker for worker in self._running if worker.stream is not None}
        if streams:
            ready, _ = ray.wait(list(streams), num_returns=1, timeout=seconds, fetch_local=False)
            more, _ = ray.wait(list(streams), num_returns=len(streams), timeout=0, fetch_local=False)
            for stream in {*ready, *more}:
                streams[stream].news = True
        else:
            time.sleep(min(seconds, 0.05))
        if any(worker.host for worker in self._running):
            self._well = time.monotonic()
        elif time.monotonic() - self._well > _PATIENCE:
            self._tell(f"waiting until the cluster has {self._needs_in_words()} to spare for a worker.")
            self._well = float("inf")

    def _assign(self, waiting: deque[Task]) -> Iterator[Outcome]:
        if time.monotonic() - self._counted > _COUNT:
            self._count_room()
        yield from super()._assign(waiting)

    def _count_room(self) -> None:
        self._counted = time.monotonic()
        try:
            _knock(self._head)
        except OSError as error:
            self._silent += 1
            if self._silent >= _SILENT:
                raise OutputError(
                    f"the head of the cluster at {self._head} is gone ({error}); what was done is whole. Run the same "
                    "again when the cluster is up."
                ) from error
            return
        self._silent = 0
        if not self._fixed:
            self.workers = max(sum(self._fits(node["Resources"]) for node in _alive()), 1)

    def _fits(self, machine: Mapping[str, float]) -> int:
        """How many workers a machine with these resources holds."""
        return min(int(machine.get(name, 0.0) / need + 1e-6) for name, need in self._needs.items() if need)

    def _needs_in_words(self) -> str:
        gpus = f", {self._needs['GPU']:g} GPUs" if self._needs["GPU"] else ""
        return f"{self._needs['CPU']:g} CPUs{gpus} and {self._needs['memory'] / 1e9:g} GB"


class _RemoteWorker(PooledWorker):
    """The worker of one actor.

    Args:
        actor: the handle of a ``RayActor``.
        lost: where it enters itself when it died with its actor and may have left temporary files.
    """

    def __init__(self, actor: Any, lost: list[_RemoteWorker]) -> None:
        super().__init__()
        self.host, self.news = "", False
        self.stream: Any = None
        self._actor, self._lost = actor, lost
        self._node = self._machine = self._words = ""
        self._process = 0
        self._ending: Any = None
        self._gone = False
        self._listen(actor.start)

    def _listen(self, method: Any, *arguments: Any) -> None:
        self.stream = method.options(num_returns="streaming").remote(*arguments)

    def send(self, task: Task) -> None:
        self._listen(self._actor.do, task.path, task.place)

    def messages(self) -> Iterator[Message]:
        while self.news and not self.ended:
            try:
                message = decode(ray.get(next(self.stream)), FromActor)
            except StopIteration:
                self.stream, self.news = None, False
            except RayError as error:
                self._note_death(error)
            except ProtocolError as error:
                self.ended, self._words = True, MISUNDERSTOOD.format(error)
            else:
                match message:
                    case Hello():
                        self.host, self._node = message.host, message.node
                        self._machine, self._process = message.machine, message.process
                    case Ended(words):
                        self.ended, self._words = True, words
                    case _:
                        yield message
                # Ask only for what is there: more would mean to wait for it.
                self.news = bool(ray.wait([self.stream], timeout=0, fetch_local=False)[0])

    def _note_death(self, error: RayError) -> None:
        """Note how the actor ended: with its machine, alone, or before it had started."""
        self.ended = self._gone = True
        self._lost.append(self)
        self.lost = bool(self._node) and self._node not in {node["NodeID"] for node in _alive()}
        if self.lost:
            self._words = f"{self.host}, which worked on it, was lost"
        else:
            self._words = KILLED if self.host else _last_line(error)

    def stop(self, *, gently: bool) -> None:
        self.ended = True
        if self.host and not self._gone:
            self._ending = self._actor.stop.remote(GRACE if gently else 0.0)

    def end(self, grace: float) -> None:
        if not self._gone:
            if self._ending is None:
                self.stop(gently=grace > 0)
            if self._ending is not None:
                ray.wait([self._ending], timeout=grace + _ANSWER)
            ray.kill(self._actor)
        self.ended = self._gone = True

    def last_words(self) -> str:
        self.end(GRACE)
        return self._words or KILLED

    def forget_words(self) -> None:
        pass  # its actor does

    def clean(self, out: Path) -> None:
        """Remove what its actor has not removed, perhaps because it ended as well."""
        if self.folder is not None and self._process:
            remove_leftovers(out.joinpath(self.folder), float("inf"), {self._process}, self._machine)


def _connect(address: str, local: LocalCluster | None) -> str:
    """Join a cluster, or start a local one; returns the address of its head.

    Raises:
        UsageError: there is none, or it cannot be joined from here.
    """
    _check_address(address)
    own = local.options() if local is not None else {}
    if local is not None:
        # Without a token for this cluster Ray would put one into the home folder, which later clusters would ask for.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        # Ray makes all its processes search the working folder of this one for modules first; a folder of data must
        # not be searched for code.
        with contextlib.chdir("/"), local.home() if local is not None else contextlib.nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        # Ray would print reports of dead processes to standard output, where results go.
        ray._private.worker._worker_logs_enabled = False
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "" if address in ("auto", "local") else f" {address}"
        reason = " ".join(str(error).split()).removesuffix(".")
        raise UsageError(
            f"--engine ray: the cluster{where} cannot be used ({reason}); see docs/cluster.md for how to start one, "
            "and export RAY_AUTH_MODE=token if it asks for a token."
        ) from error
    finally:
        for number, handler in before.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    return str(ray.get_runtime_context().gcs_address)


def _check_address(address: str) -> None:
    """Fail at once where no cluster answers; Ray tries for minutes, and then ends the process."""
    if "://" in address:
        raise UsageError(
            f"--address {address}: give HOST:PORT as ray start --address takes it, on a machine of the cluster."
        )
    if address in ("auto", "local"):
        return
    if whole_number(address.rpartition(":")[2]) is None:
        raise UsageError(f"--address {address}: give HOST:PORT, auto or local.")
    try:
        _knock(address)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--address {address}: no cluster answers there ({error}); is its head up?") from error


def _knock(address: str) -> None:
    """Raises OSError if nothing answers at HOST:PORT."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _everywhere(nodes: Sequence[str], function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function on machines of the cluster, whether they are busy or not; those lost meanwhile are left out.

    Raises:
        UsageError: one of them cannot.
    """
    calls = []
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        calls.append(
            ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=where).remote(*arguments)
        )
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    found = []
    for node, call in zip(nodes, calls, strict=True):
        try:
            found.append(ray.get(call, timeout=_INSPECT))
        except (RayError, RuntimeError, ImportError) as error:
            if node not in {other["NodeID"] for other in _alive()}:
                continue
            raise UsageError(
                f"{hosts[node]} cannot work for hsemotion ({_last_line(error)}); install the same version of "
                "hsemotion-cli[ray] on every machine."
            ) from error
    return found


def _check_versions(found: Sequence[Mapping[str, Any]], names: Sequence[str] | Mapping[str, Any]) -> None:
    """Raises UsageError if some machines have other versions than others."""
    for name in names:
        by_version: dict[str, list[str]] = {}
        for node in found:
            by_version.setdefault(node["versions"].get(name, "missing"), []).append(node["host"])
        if len(by_version) > 1:
            what = {"version": "hsemotion", "python": "Python"}.get(name, name)
            where = ", ".join(
                f"{version} on {' and '.join(dict.fromkeys(by_version[version]))}" for version in by_version
            )
            raise UsageError(f"the machines do not have the same versions: {what} is {where}. Make them alike.")


def _resources_in_words() -> str:
    described = []
    for node in _alive():
        have = node["Resources"]
        gpus = f", {have['GPU']:g} GPUs" if have.get("GPU") else ""
        memory = have.get("memory", 0.0) / 1e9
        described.append(f"{node['NodeManagerHostname']} {have.get('CPU', 0.0):g} CPUs{gpus} and {memory:.3g} GB")
    return ", ".join(described)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
