"""``batch`` on a Ray cluster of several nodes, real ones on this machine: what goes wrong, and the same bytes."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import batch_jobs
import clips
import pytest

from hsemotion_cli.batch import jsonl
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import Outcome, Progress, Task
from hsemotion_cli.batch.ray_actor import NodeRequirements, inspect_node, missing, reports_usage
from hsemotion_cli.batch.worker import WorkerConfig
from hsemotion_cli.batch.worker_pool import WorkerPool
from hsemotion_cli.errors import ModelUnavailable, UsageError
from hsemotion_cli.runtime import privacy

# Nothing of what is started here may report anything; see docs/cluster.md.
os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9"})
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name is so)

pytest.importorskip("ray", reason="needs the [ray] extra")
from ray.cluster_utils import Cluster

from hsemotion_cli.batch.ray_engine import RayEngine

HERE = Path(__file__).parent
PATIENCE = 120.0
"""Seconds after which a test gives up waiting; none of them measures speed."""

# Ray leaves sockets and files of its own to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,
    pytest.mark.filterwarnings("default::ResourceWarning", "default::FutureWarning"),
]


class Machines:
    """A cluster whose nodes are raylets with processes of their own; the head annotates nothing."""

    def __init__(self) -> None:
        beats = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 2000}
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": {**beats, "health_check_failure_threshold": 3},
        }
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self.cluster.address

    def add(self, **options: Any) -> Any:
        """Another node, with one core by default."""
        path = os.pathsep.join([*options.pop("modules", [str(HERE.parent), str(HERE)])])
        return self.cluster.add_node(**{"num_cpus": 1, "env_vars": {"PYTHONPATH": path}, **options})

    def remove(self, node: Any) -> None:
        """Kill a node with all its processes, as a power cut does, and wait until the cluster has noticed."""
        self.cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: node.node_id not in alive(self))

    @staticmethod
    def busy(node: Any) -> list[int]:
        """Processes of Ray on a node that wait for a worker of ours which is at a video."""
        raylet = node.all_processes["raylet"][0].process.pid
        return [process for process in children(raylet) if title(process).startswith("ray::RayActor.do")]


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def lives(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.part"))


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A head and two nodes; the second declares a GPU."""
    started = Machines()
    started.add()
    started.add(num_gpus=1)
    yield started
    started.cluster.shutdown()


def engine(machines: Machines, out: Path, opener: str = "opened", **options: Any) -> RayEngine:
    setup = WorkerConfig(f"{batch_jobs.__name__}:{opener}", out, 1)
    return RayEngine(setup, out, address=machines.address, **options)


def run(
    started: WorkerPool, names: Sequence[str], report: Callable[[Progress | None], None] = lambda _: None
) -> list[Outcome]:
    with started:  # type: ignore[attr-defined]
        return list(started.run([Task(name, name) for name in names], report))


def by_name(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    return {outcome.task.place: outcome for outcome in outcomes}


# --- workers ---------------------------------------------------------------------------------------------------------


def test_faults_come_to_the_same_as_on_one_machine(machines: Machines, tmp_path: Path) -> None:
    names = ["good-1", "crash-1", "input-1", "good-2", "output-1", "once-1", "bug-1", "good-3"]
    found = {}
    for kind in ("local", "ray"):
        out = tmp_path / kind
        out.mkdir()
        setup = WorkerConfig(f"{batch_jobs.__name__}:opened", out, 1)
        started: Any = LocalEngine(setup, out, workers=2) if kind == "local" else engine(machines, out)
        told = by_name(run(started, names))
        assert started.settings == {"made by": "a test"}
        assert parts(out) == []
        found[kind] = {name: (o.state, o.attempts, o.failure, o.facts.get("frames")) for name, o in told.items()}
        assert {path.name for path in out.glob("*.txt")} == {f"{n}.txt" for n in names if n[:4] in ("good", "once")}
    assert found["ray"] == found["local"]
    assert len(found["ray"]) == len(names)


def test_a_worker_does_many_videos_and_one_that_hangs_is_replaced(machines: Machines, tmp_path: Path) -> None:
    found = by_name(
        run(engine(machines, tmp_path, workers=1, retries=0, timeout=5), ["good-1", "good-2", "hang-1", "good-3"])
    )
    assert {name: o.state for name, o in found.items()} == {
        "good-1": "done", "good-2": "done", "hang-1": "failed", "good-3": "done"
    }  # fmt: skip
    workers = [found[name].facts["worker"] for name in ("good-1", "good-2", "good-3")]
    assert workers[0] == workers[1] != workers[2]
    failure = found["hang-1"].failure
    assert failure is not None
    assert (failure.error, failure.stage) == ("Timeout", "annotate")
    assert "longer than --timeout 5 s" in failure.sentence
    assert not lives(int((tmp_path / "hang-1.tried").read_text()))
    assert parts(tmp_path) == []


def test_a_worker_that_is_killed_loses_nothing(machines: Machines, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(news: Progress | None) -> None:
        if news and news.task.place == "slow-1" and not killed:
            wait_until(lambda: parts(tmp_path))
            worker = int((tmp_path / "slow-1.tried").read_text())
            (actor,) = [
                p for node in machines.cluster.worker_nodes for p in machines.busy(node) if worker in children(p)
            ]
            killed.append(worker)
            os.kill(actor, signal.SIGKILL)

    found = by_name(run(engine(machines, tmp_path, workers=1), ["slow-1", "good-1"], kill))
    assert killed
    wait_until(lambda: not lives(killed[0]))  # it does not outlive the process of Ray beside it
    assert (found["slow-1"].state, found["slow-1"].attempts, found["good-1"].state) == ("done", 2, "done")
    assert (tmp_path / "slow-1.txt").read_text() == "half of slow-1"
    assert parts(tmp_path) == []


def test_fractions_of_a_gpu(machines: Machines, tmp_path: Path) -> None:
    both = engine(machines, tmp_path, gpus=0.5)
    both._needs["CPU"] = 0.5  # two of them on the one core of that node
    found = run(both, ["good-1", "good-2", "good-3", "good-4"])
    assert both.workers == 2
    assert {o.facts["gpus"] for o in found} == {"0"}
    with pytest.raises(UsageError, match=r"no machine of the cluster has 1 CPUs, 2 GPUs and 0\.8 GB for a worker"):
        run(engine(machines, tmp_path, gpus=2.0), ["good-1"])


def test_what_the_first_worker_cannot_load_is_reported_at_once(machines: Machines, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"weights\.bin is missing; fetch it\."):
        run(engine(machines, tmp_path, "refused"), ["good-1"])
    assert parts(tmp_path) == []


def test_an_interrupt_stops_all_and_leaves_nothing_half_written(machines: Machines, tmp_path: Path) -> None:
    def interrupt(news: Progress | None) -> None:
        if news and news.task.place == "slow-1":
            wait_until(lambda: parts(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine(machines, tmp_path), ["good-1", "slow-1", "slow-2"], interrupt)
    workers = [int(path.read_text()) for path in tmp_path.glob("*.tried")]
    wait_until(lambda: not any(map(lives, workers)))
    assert parts(tmp_path) == []
    assert (tmp_path / "good-1.txt").exists()
    assert not (tmp_path / "slow-1.txt").exists()


# --- what is refused before the first video --------------------------------------------------------------------------


@pytest.fixture
def other_version(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A third node, with another version of hsemotion."""
    folder = tmp_path_factory.mktemp("other")
    package = HERE.parent / "hsemotion_cli"
    shutil.copytree(package, folder / "hsemotion_cli", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    (folder / "hsemotion_cli/assets").symlink_to(package / "assets")
    (folder / "hsemotion_cli/__init__.py").write_text('__version__ = "0.0.1"\n')
    node = machines.add(modules=[str(folder), str(HERE)])
    yield
    machines.remove(node)


def test_mixed_versions_are_refused(machines: Machines, other_version: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not have the same versions: hsemotion is .*0\.0\.1 on "):
        run(engine(machines, tmp_path), ["good-1"])
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_cannot_write_the_results_is_refused(machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    prepare = f"mount --bind {out} {out} && mount -o remount,ro,bind {out}"
    if subprocess.run([*apart, prepare], capture_output=True).returncode:
        pytest.skip("needs to be allowed to mount things of its own")
    before = alive(machines)
    start = f"-m ray.scripts.scripts start --block --num-cpus=1 --address={machines.address}"
    ray = f"{prepare} && exec {sys.executable} {start}"
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    process = subprocess.Popen(
        [*apart, ray], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: alive(machines) - before or process.poll() is not None)
        with pytest.raises(UsageError, match=r"^on .*: nothing can be written there \(Read-only"):
            run(engine(machines, out), ["good-1"])
    finally:
        process.terminate()
        process.wait()
    wait_until(lambda: not alive(machines) - before)
    assert list(out.iterdir()) == []


def alive(machines: Machines) -> set[str]:
    return {node["NodeID"] for node in machines.cluster.global_state.node_table() if node["Alive"]}


def test_sources_that_a_machine_does_not_see(tmp_path: Path) -> None:
    (tmp_path / "here.mp4").touch()
    assert missing(str(tmp_path), ["here.mp4", "gone.mp4", str(tmp_path / "here.mp4")])["paths"] == ["gone.mp4"]


def test_a_machine_says_what_keeps_it_from_taking_part(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert inspect_node(NodeRequirements(tmp_path, "token", "/", {}))["refused"] == ""
    assert "does not see the folder" in inspect_node(NodeRequirements(tmp_path, "another", "/", {}))["refused"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--engine", "spark"), "choose local or ray"),
        (("--address", "head:6379"), "are for --engine ray"),
        (("--engine", "ray", "--address", "ray://head:10001"), "give HOST:PORT"),
        (("--engine", "ray", "--address", "head"), "give HOST:PORT"),
        (("--engine", "ray", "--address", "127.0.0.1:9"), "no cluster answers there"),
        (("--engine", "ray", "--gpus-per-worker", "-1"), "takes a number from 0, such"),
    ],
)
def test_options_that_cannot_work(smile: Path, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    from typer.testing import CliRunner

    from hsemotion_cli.cli import app

    result = CliRunner().invoke(app, ["batch", str(smile), "-o", str(tmp_path / "out"), *options])
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert parts(tmp_path) == []


# --- the whole command, on videos ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips, and a file that is none."""
    folder = tmp_path_factory.mktemp("study")
    for k, name in enumerate(("a/clip", "b/clip", "b/two", "three", "four", "five")):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        clips.write(path, [clips.portrait(shift=3 * k + 2 * j) for j in range(8)])
    (folder / "text.mp4").write_text("no video, but a diary")
    return folder


def batch(study: Path, out: Path, *more: str) -> list[str]:
    options = ["--model", "mp-blendshapes", "--format", "csv,parquet", "--threads", "1", *more]
    return [sys.executable, "-m", "hsemotion_cli", "batch", str(study), "-o", str(out), *options]


def tables(out: Path) -> dict[str, bytes]:
    found = [*out.rglob("*.csv"), *out.rglob("*.parquet"), *out.rglob("*.raw.npz")]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def told(out: Path) -> list[dict[str, Any]]:
    """The manifest, without what may differ from run to run."""
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "attempts")} for r in jsonl.read(out / "manifest.jsonl")
    ]


@pytest.fixture(scope="module")
def undisturbed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process on one machine makes of it."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(batch(study, out, "--workers", "1"), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    return out


def halted(machines: Machines, nodes: Collection[Any], command: subprocess.Popen[str]) -> tuple[int, Any]:
    """Wait until a worker of these nodes is at a video, halt it; returns the process of Ray beside it, and the node."""
    found: list[tuple[int, int, Any]] = []

    def working() -> bool:
        busy = ((actor, node) for node in nodes for actor in machines.busy(node))
        found.extend((worker, actor, node) for actor, node in busy for worker in children(actor))
        return bool(found) or command.poll() is not None

    wait_until(working)
    worker, actor, node = found[0]
    os.kill(worker, signal.SIGSTOP)
    return actor, node


def on(machines: Machines) -> tuple[str, ...]:
    return ("--engine", "ray", "--address", machines.address)


def test_a_worker_and_then_a_node_is_lost_and_no_byte_differs(
    machines: Machines, study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    command = batch(study, tmp_path, *on(machines), "--retries", "5", "--json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # Both are halted at a video first, so that they die in the middle of their work however fast the machine is.
        actor, first = halted(machines, machines.cluster.worker_nodes, process)
        _, second = halted(machines, machines.cluster.worker_nodes - {first}, process)
        os.kill(actor, signal.SIGKILL)
        machines.remove(second)
        printed, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        machines.add(num_gpus=1)
    assert process.returncode == 3, said
    assert tables(tmp_path) == tables(undisturbed)
    assert len(tables(tmp_path)) == 18
    assert told(tmp_path) == told(undisturbed)
    assert parts(tmp_path) == []
    attempts = {r["output"]: r["attempts"] for r in jsonl.read(tmp_path / "manifest.jsonl")}
    assert sum(attempts.values()) >= len(attempts) + 2, "both were lost while they worked"
    assert attempts["text"] == 1
    assert json.loads(printed)["counts"] == {"done": 6, "skipped": 0, "failed": 1, "left": 0}
    (failed,) = jsonl.read(tmp_path / "failures.jsonl")
    assert [failed] == list(jsonl.read(undisturbed / "failures.jsonl"))


def none_lives(processes: Iterable[int]) -> bool:
    return not any(map(lives, processes))


def test_killed_it_leaves_no_worker_and_goes_on_where_it_was(
    machines: Machines, study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    nodes = machines.cluster.worker_nodes
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        command = batch(study, tmp_path, *on(machines), "-q")
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

        def begun(running: subprocess.Popen[str] = process) -> bool:
            return any(machines.busy(node) for node in nodes) or running.poll() is not None

        wait_until(begun)
        actors = [actor for node in nodes for actor in machines.busy(node)]
        workers = [worker for actor in actors for worker in children(actor)]
        assert workers
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, said
        assert "Traceback" not in said
        wait_until(partial(none_lives, [*actors, *workers]))
        for name, data in tables(tmp_path).items():
            assert data == tables(undisturbed)[name], f"{name} was torn"
    assert parts(tmp_path) == [], "what is interrupted cleans up; what was killed before is removed at the next start"
    (tmp_path / "a").mkdir(exist_ok=True)
    for path in (undisturbed / "a").iterdir():  # what one machine alone has made counts
        shutil.copy2(path, tmp_path / "a")
    done = subprocess.run(batch(study, tmp_path, *on(machines), "--json"), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert counts["skipped"] >= 1
    assert counts["done"] + counts["skipped"] == 6
    assert tables(tmp_path) == tables(undisturbed)


# --- nothing is reported ---------------------------------------------------------------------------------------------


@pytest.fixture
def ear() -> Iterator[tuple[str, list[bytes]]]:
    """Where reports of usage go to, and what has arrived."""
    heard: list[bytes] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", heard
        server.shutdown()


def test_a_cluster_of_our_own_reports_nothing(smile: Path, tmp_path: Path, ear: tuple[str, list[bytes]]) -> None:
    address, heard = ear
    env = {k: v for k, v in os.environ.items() if k != "RAY_USAGE_STATS_ENABLED"}
    env |= {
        "RAY_USAGE_STATS_REPORT_URL": address,
        "RAY_USAGE_STATS_REPORT_INTERVAL_S": "1",
        "HOME": str(tmp_path / "home"),
    }
    command = batch(smile, tmp_path / "out", "--engine", "ray", "--address", "local", "--json")
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["done"] == 1
    assert heard == []
    assert not (tmp_path / "home/.ray").exists()


def test_whether_a_cluster_reports_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    monkeypatch.setenv("RAY_USAGE_STATS_CONFIG_PATH", str(config))
    monkeypatch.setitem(privacy.FOUND, "RAY_USAGE_STATS_ENABLED", "0")
    assert not reports_usage()
    monkeypatch.delitem(privacy.FOUND, "RAY_USAGE_STATS_ENABLED")
    assert reports_usage()
    for text, reports in (('{"usage_stats": false}', False), ('{"usage_stats": true}', True), ("[", True)):
        config.write_text(text)
        assert reports_usage() == reports
    monkeypatch.setitem(privacy.FOUND, "RAY_USAGE_STATS_ENABLED", "1")
    assert reports_usage()
