"""Messages between pool and workers: what is sent arrives, and what cannot be understood is a clear error."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.batch import pipe, worker_process
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import (
    Assign,
    Downloading,
    Ended,
    Failed,
    Finished,
    FromActor,
    FromWorker,
    Hello,
    Message,
    ProtocolError,
    Ready,
    Refused,
    Stop,
    Task,
    ToWorker,
    Working,
    decode,
    encode,
)  # fmt: skip
from hsemotion_cli.batch.worker import WorkerConfig
from hsemotion_cli.errors import ModelUnavailable

MESSAGES: list[Message] = [
    Assign("odd \udcff\n.mp4", "a/b"),
    Stop(),
    Downloading(3, None),
    Downloading(3, 4),
    Ready({"models": [{"name": "é"}], "sampling": {"fps": None, "every": 1}}),
    Refused("ModelUnavailable", "weights.bin is missing."),
    Working("annotate", 1, 2, None),
    Finished({"frames": 2, "coverage": 0.5}),
    Failed("read", "InputError", "a.mp4: not a video.", True, False),
    Hello("node", "host", "machine", 7),
    Ended("it was killed"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert {type(each) for each in MESSAGES} == {*FromActor.__args__, *ToWorker.__args__}, "none is left out"
    data = encode(message)
    assert data.isascii()
    assert decode(data, FromActor | ToWorker) == message


@pytest.mark.parametrize(
    "data",
    [
        b"", b"ready", b"\xff\xfe", b"[]", b"7", b"null", b"{}", b'{"kind": 7}', b'{"kind": ["ready"]}',
        b'{"kind": "later"}', b'{"kind": "ready"}', b'{"kind": "ready", "settings": {}, "more": 1}',
        b'{"kind": "ready", "settings": []}', b'{"kind": "working", "stage": 1, "done": 1, "faces": 1, "total": 1}',
        b'{"kind": "working", "stage": "a", "done": true, "faces": 1, "total": 1}', b'{"kind": "assign", "path": "a"}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"than this version knows|this version does not know"):
        decode(data, FromActor | ToWorker)


def test_a_message_for_the_other_direction_is_a_protocol_error() -> None:
    for message, expected in ((Stop(), FromWorker), (Hello("", "", "", 0), FromWorker), (Ready({}), ToWorker)):
        with pytest.raises(ProtocolError):
            decode(encode(message), expected)


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.dictionaries(st.text(), s)))
def test_json_of_any_kind_is_a_message_or_a_protocol_error(content: Any) -> None:
    try:
        decode(json.dumps(content).encode(), FromActor)
    except ProtocolError:
        return
    raise AssertionError("none of these has a tag")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 2000))
def test_messages_on_a_pipe(noise: bytes, sent: list[bytes], cut: int) -> None:
    stream = io.BytesIO()
    stream.write(noise)
    pipe.write_start(stream)
    for data in sent:
        pipe.write(stream, data)
    whole = stream.getvalue()
    reader = io.BytesIO(whole)
    assert pipe.skip_to_start(reader)
    assert [pipe.read(reader) for _ in sent] == sent
    assert pipe.read(reader) is None
    reader = io.BytesIO(whole[: len(noise) + len(pipe.START) + cut])
    assert pipe.skip_to_start(reader)
    got = []
    try:
        while (data := pipe.read(reader)) is not None:  # type: ignore[assignment]
            got.append(data)
    except ProtocolError:
        assert len(got) < len(sent)
    assert got == sent[: len(got)]


def test_something_else_on_a_pipe() -> None:
    assert not pipe.skip_to_start(io.BytesIO(b"Hello"))
    with pytest.raises(ProtocolError, match="something else than messages"):
        pipe.skip_to_start(io.BytesIO(b"x" * (1 << 21)))
    with pytest.raises(ProtocolError, match="without a length"):
        pipe.read(io.BytesIO(b"GET / HTTP/1.1"))


# --- a worker of another version -------------------------------------------------------------------------------------

OTHER = """
import sys, time
from hsemotion_cli.batch import pipe
def main():
    print("a plugin greets you", flush=True)
    answers = sys.stdout.buffer
    pipe.write_start(answers)
    for data in {sent!r}:
        pipe.write(answers, data)
    pipe.read(sys.stdin.buffer)
    pipe.read(sys.stdin.buffer)
    for data in {then!r}:
        pipe.write(answers, data)
    time.sleep(600)
"""


def other_version(folder: Path, monkeypatch: pytest.MonkeyPatch, sent: list[bytes], then: list[bytes]) -> None:
    """Have workers run another program, which sends these messages at once, and those when it has a task."""
    (folder / "other").mkdir()
    (folder / "other" / "worker.py").write_text(OTHER.format(sent=sent, then=then))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(worker_process, "__package__", "other")


@pytest.mark.parametrize("first", [b'{"kind": "greeting"}', b'{"kind": "ready", "settings": {}, "more": 1}', b"noise"])
def test_a_first_worker_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    other_version(tmp_path, monkeypatch, [first], [])
    said = r"no worker could start: its worker sent a message .* this version .*; if hsemotion was upgraded"
    with pytest.raises(ModelUnavailable, match=said), LocalEngine(WorkerConfig("", None, 1), tmp_path):
        pass


def test_an_unknown_later_message_fails_the_task_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_version(tmp_path, monkeypatch, [encode(Ready({}))], [b'{"kind": "milestone"}'])
    with LocalEngine(WorkerConfig("", None, 1), tmp_path, retries=0) as engine:
        (outcome,) = engine.run([Task("a.mp4", "a")], lambda _: None)
    assert outcome.failure is not None
    assert outcome.failure.error == "Crash"
    assert "a message that this version does not know" in outcome.failure.sentence
    assert "start the batch again" in outcome.failure.sentence


def test_a_plugin_that_prints_does_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = [encode(Working("annotate", 1, 1, None)), encode(Finished({"frames": 1}))]
    other_version(tmp_path, monkeypatch, [encode(Ready({}))], done)
    with LocalEngine(WorkerConfig("", None, 1), tmp_path) as engine:
        (outcome,) = engine.run([Task("a.mp4", "a")], lambda _: None)
    assert (outcome.state, outcome.facts) == ("done", {"frames": 1})
