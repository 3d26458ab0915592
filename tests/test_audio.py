"""Sound: decoding, wav2vec 2.0 in blocks, its features, heads on them, and sound as the second model of annotate."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import stamp
from scipy.io import wavfile
from scipy.signal import resample_poly
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="sound needs torch")
pytest.importorskip("transformers", reason="sound needs transformers")

import challenge
from safetensors.torch import load_file, save_file

from hsemotion_cli.abaw import predictions
from hsemotion_cli.cli import app
from hsemotion_cli.commands import annotate as annotate_command
from hsemotion_cli.commands import extract as extract_command
from hsemotion_cli.commands.signature import call
from hsemotion_cli.errors import HsemotionError, InputError, ModelUnavailable, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, read_tree
from hsemotion_cli.formats import features, raw_scores, sidecar
from hsemotion_cli.formats.table import load
from hsemotion_cli.media.audio import RATE, AudioFile, Clock, nearest
from hsemotion_cli.models import (
    audio,
    heads,
    wav2vec,
)
from hsemotion_cli.models.architectures import mend_torchvision
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.models.wav2vec import Wav2Vec2
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, EXPRESSIONS, TASKS
from hsemotion_cli.training import features as matching

torch.set_num_threads(1)
mend_torchvision()
import transformers

SIZE = 24


# --- recordings -------------------------------------------------------------------------------------------------


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0, loud: float = 0.3) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz / rate * np.arange(round(seconds * rate)))).astype(np.float32)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and colour change, as those of a voice do."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, round(seconds * RATE)).astype(np.float32)
    slow = np.repeat(random.uniform(0.02, 1, round(seconds * 2) + 2), RATE // 2)[: len(noise)]
    dull = np.convolve(noise, np.ones(8) / 8, "same")
    mixed = np.where(np.repeat(random.random(round(seconds) + 2) < 0.5, RATE)[: len(noise)], noise, dull)
    return (0.1 * slow * mixed).astype(np.float32)


def wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """A file by another library: (n,) or (n, channels), float32 or int16."""
    wavfile.write(path, rate, samples)
    return path


def encoded(
    path: Path, samples: np.ndarray, rate: int, codec: str, pieces: list[tuple[int, int, float]], pictures: int = 0
) -> Path:
    """Samples in a container, piece by piece: (first, behind the last, seconds at which it is heard)."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25) if pictures else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        for k in range(pictures):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * k % 255, np.uint8), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            container.mux(video.encode(picture))
        if video:
            container.mux(video.encode())
        kind = stream.codec_context.format.name
        scale, dtype = {"flt": (1, np.float32), "s16": (2**15 - 1, np.int16), "s32": (2**31 - 1, np.int32)}[kind[:3]]
        for first, last, time in pieces:
            for start in range(first, last, 1024):
                part = samples[start : min(start + 1024, last)]
                part = (part.astype(np.float64) * scale).round(0 if scale > 1 else 12).astype(dtype)
                frame = av.AudioFrame.from_ndarray(part[None], format=kind, layout="mono")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(time * rate) + start - first
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def heard(path: Path, size: int = RATE) -> np.ndarray:
    return np.concatenate(list(AudioFile(path).chunks(size)))


@pytest.mark.parametrize("rate", [48000, 44100, 22050, 8000])
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_sound_of_any_rate_is_what_another_library_makes_of_it(rate: int, kind: type, tmp_path: Path) -> None:
    left, right = tone(2, rate, 440, 0.5), tone(2, rate, 1100, 0.2)
    stereo = np.stack([left, right], axis=1)
    stored = stereo if kind is np.float32 else np.round(stereo * 32767).astype(np.int16)
    found = heard(wav(tmp_path / "a.wav", stored, rate))
    step = np.gcd(rate, RATE)
    expected = resample_poly(stereo.mean(axis=1).astype(np.float64), RATE // step, rate // step)
    assert found.dtype == np.float32 and abs(len(found) - 2 * RATE) <= 1
    inner = slice(800, 2 * RATE - 800)
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)
    # Amplitudes of the two tones: half of each channel's.
    spectrum = np.abs(np.fft.rfft(found[: 2 * RATE - 2] * np.hanning(2 * RATE - 2))) * 4 / (2 * RATE)
    peaks = {round(k * RATE / (2 * RATE - 2)): spectrum[k] for k in np.argsort(spectrum)[-1:]}
    assert list(peaks) == [440]
    assert spectrum[860:900].max() == pytest.approx(0.25, rel=0.02)
    assert spectrum[2180:2220].max() == pytest.approx(0.1, rel=0.02)


def test_what_needs_no_change_is_not_changed(tmp_path: Path) -> None:
    samples = speech(1.3)
    np.testing.assert_array_equal(heard(wav(tmp_path / "a.wav", samples)), samples)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 40000))
def test_chunks_of_any_size_hold_the_same_samples(size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "chunks.mp3"
    if not path.exists():
        encoded(path, tone(1.0, 44100), 44100, "libmp3lame", [(0, 44100, 0)])
    found = list(AudioFile(path).chunks(size))
    assert {len(chunk) for chunk in found[:-1]} <= {size} and 0 < len(found[-1]) <= size
    np.testing.assert_array_equal(np.concatenate(found), heard(path))


def test_a_survey_agrees_with_numpy(tmp_path: Path) -> None:
    samples = speech(25) + np.float32(0.01)
    found = AudioFile(wav(tmp_path / "a.wav", samples)).survey()
    assert found.samples == len(samples) and found.failures == 0 and not found.ended_early
    assert found.mean == pytest.approx(samples.mean(dtype=np.float64), rel=1e-9)
    assert found.variance == pytest.approx(samples.var(dtype=np.float64), rel=1e-9)
    np.testing.assert_allclose(found.clock.times(np.array([0, 8000, 8000.5])), [0, 0.5, 0.50003125])


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "flac"), ("mp4", "aac"), ("mkv", "libopus"), ("ts", "mp2")])
def test_sound_that_begins_late_keeps_its_time(suffix: str, codec: str, tmp_path: Path) -> None:
    rate = 48000
    samples = np.zeros(2 * rate, np.float32)
    samples[rate // 2 : rate // 2 + 480] = tone(0.01, rate, 2000, 0.8)  # heard at 1.5 + 0.5 s
    path = encoded(tmp_path / f"late.{suffix}", samples, rate, codec, [(0, len(samples), 1.5)], pictures=90)
    sound = AudioFile(path)
    with av.open(str(path)) as container:
        video_start = float(next(container.decode(video=0)).time)
    found = sound.survey()
    click = int(np.argmax(np.abs(heard(path))))
    assert sound.start - video_start == pytest.approx(1.5, abs=0.03)
    assert found.clock.times(np.array([click]))[0] - video_start == pytest.approx(2.0, abs=0.03)


def test_a_gap_is_not_filled_and_the_clock_goes_on_behind_it(tmp_path: Path) -> None:
    samples = tone(3.0)
    samples[RATE:] *= 0.5
    path = encoded(tmp_path / "gap.mkv", samples, RATE, "pcm_s16le", [(0, RATE, 0.25), (RATE, 3 * RATE, 4.0)])
    found = AudioFile(path).survey()
    assert found.samples == 3 * RATE
    assert found.clock.marks == [(0, pytest.approx(0.25, abs=1e-3)), (RATE, pytest.approx(4.0, abs=1e-3))]
    times = found.clock.times(np.array([0, RATE - 1, RATE, 3 * RATE - 1]))
    np.testing.assert_allclose(times, [0.25, 1.25, 4.0, 6.0], atol=2e-3)


def test_a_change_of_rate_in_the_middle_is_followed(tmp_path: Path) -> None:
    for name, rate in (("a", 48000), ("b", 32000)):
        encoded(tmp_path / f"{name}.mp3", tone(1, rate, 1000), rate, "libmp3lame", [(0, rate, 0)])
    path = tmp_path / "both.mp3"
    path.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    found = heard(path)
    for part in (found[4000:12000], found[-12000:-4000]):
        assert np.argmax(np.abs(np.fft.rfft(part))) == 1000 * 8000 // RATE


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mkv", tone(4, 48000), 48000, "flac", [(0, 4 * 48000, 0)])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    random = np.random.default_rng(0)
    for k in range(0, 3000, 3):
        data[middle + k] ^= int(random.integers(1, 255))
    path.write_bytes(bytes(data))
    sound = AudioFile(path)
    found = sound.survey()
    assert found.failures or found.ended_early or len(found.clock.marks) > 1
    assert found.samples > RATE
    assert np.isfinite(heard(path)).all()


def test_what_has_no_sound_is_refused_in_one_sentence(nobody: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("nothing but words\n" * 50)
    (tmp_path / "picture.jpg").write_bytes(clips.PORTRAIT.read_bytes())
    wav(tmp_path / "none.wav", np.empty(0, np.float32))
    reasons = {
        nobody: "has no audio stream",
        tmp_path / "absent.wav": "no such file",
        tmp_path / "empty.wav": "empty",
        tmp_path / "text.mp3": "sound",
        tmp_path / "picture.jpg": "images have no sound",
        tmp_path: "images have no sound",
        tmp_path / "none.wav": "",
    }
    for path, reason in reasons.items():
        with pytest.raises(InputError) as raised:
            AudioFile(path).survey()
        assert reason in str(raised.value) and str(path) in str(raised.value)
    broken = tmp_path / "nan.wav"
    wav(broken, np.array([0, np.nan] * 500, np.float32))
    with pytest.raises(InputError, match="none"):
        AudioFile(broken).survey()


def test_a_real_clip_whose_sound_begins_late(shared_videos: list[Path]) -> None:
    path = next((path for path in shared_videos if path.name == "face_then_no_face_hevc.mov"), None)
    if path is None:
        pytest.skip("the clip is not here")
    sound = AudioFile(path)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
    seconds = sum(frame.samples for frame in frames) / stream.rate
    assert sound.start == stamp(frames[0])
    assert sound.survey().samples == pytest.approx(seconds * RATE, abs=2)


@given(
    times=st.lists(st.floats(0, 3, width=32), max_size=20),
    wanted=st.lists(st.floats(-1, 4, width=32), max_size=20),
    reach=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_nearest_is_what_comparing_all_of_them_finds(times: list[float], wanted: list[float], reach: float) -> None:
    found = nearest(np.array(times, np.float64), np.array(wanted, np.float64), reach)
    for at, place in zip(wanted, found, strict=True):
        distances = [abs(at - time) for time in times]
        if place == -1:
            assert not distances or min(distances) > reach
        else:
            assert distances[place] == min(distances) <= reach


# --- the network ------------------------------------------------------------------------------------------------


def tiny(
    folder: Path, *, ctc: bool = False, normalise: bool = True, seed: int = 0, kind: str = "Wav2Vec2", **options: Any
) -> Path:
    """A network of the same class, small and untrained, as ``save_pretrained`` writes it."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        **options,
    )
    network = getattr(transformers, f"{kind}ForCTC" if ctc else f"{kind}Model")(config)
    with torch.no_grad():  # attention that is worth the name: untrained it is nearly the same for all
        for name, value in network.named_parameters():
            if "attention" in name and name.endswith(("q_proj.weight", "k_proj.weight")):
                value *= 20
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny") / "net")


def states(model: Wav2Vec2, path: Path) -> tuple[np.ndarray, np.ndarray]:
    sound = AudioFile(path)
    found = list(model.states(sound, sound.survey()))
    return np.concatenate([part.time for part in found]), np.concatenate([part.embeddings for part in found])


def reference(folder: Path, samples: np.ndarray, kind: str = "Wav2Vec2") -> np.ndarray:
    """transformers' own way: its feature extractor and its network, on the whole recording."""
    network = getattr(transformers, f"{kind}Model").from_pretrained(folder).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    given = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        return network(given).last_hidden_state[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("ctc", [True, False])
def test_states_are_those_of_transformers(norm: str, normalise: bool, ctc: bool, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "net", ctc=ctc, normalise=normalise, feat_extract_norm=norm)
    samples = speech(7.3)
    time, found = states(Wav2Vec2(str(folder)), wav(tmp_path / "a.wav", samples))
    expected = reference(folder, samples)
    assert found.shape == expected.shape == (364, SIZE)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(time, 0.0125 + 0.02 * np.arange(364), atol=1e-9)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_states_of_wavlm_are_those_of_transformers(norm: str, tmp_path: Path) -> None:
    """In one block, and in blocks with context, whose borders are barely felt."""
    folder = tiny(tmp_path / "net", kind="WavLM", feat_extract_norm=norm, normalise=norm == "layer")
    samples = speech(7.3)
    sound = wav(tmp_path / "a.wav", samples)
    model = Wav2Vec2(str(folder))
    time, found = states(model, sound)
    expected = reference(folder, samples, "WavLM")
    assert found.shape == expected.shape == (364, SIZE)
    assert model.provenance["network"] == model.kind == "wavlm"
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(time, 0.0125 + 0.02 * np.arange(364), atol=1e-9)
    _, blocks = states(Wav2Vec2(str(folder), block=5.0, context=2.0), sound)
    assert np.corrcoef(blocks.ravel(), expected.ravel())[0, 1] > 0.99


def test_time_of_a_state_is_the_middle_of_what_it_sees(weights: Path, tmp_path: Path) -> None:
    """Changing samples one by one shows which a state of the convolutions depends on."""
    model = Wav2Vec2(str(weights))
    assert (model.stride, model.span, model.size) == (320, 400, SIZE)
    extractor = transformers.Wav2Vec2Model.from_pretrained(tiny(tmp_path / "n", feat_extract_norm="layer")).eval()
    samples = torch.randn(1, 4000, requires_grad=True)
    extractor.feature_extractor(samples)[0, :, 5].abs().sum().backward()
    touched = np.flatnonzero(samples.grad[0].numpy())
    assert (touched[0], touched[-1] + 1) == (5 * 320, 5 * 320 + 400)
    time, _ = states(model, wav(tmp_path / "a.wav", speech(1)))
    assert time[5] == pytest.approx((touched[0] + touched[-1] + 1) / 2 / RATE, abs=1e-9)


def without_attention(folder: Path) -> Path:
    """The same network, whose attention adds nothing."""
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        if "attention.out_proj" in name:
            tensors[name] = torch.zeros_like(value)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_block_borders_do_not_show(norm: str, tmp_path: Path) -> None:
    """All but the attention is as of the whole recording; what attention cannot see costs less than 3 % here.

    The largest deviation of any number of any state, where the states spread by 1, is 0.022 with a norm over time
    ("group", as in wav2vec2-base-960h) and 0.013 without, for blocks of ten seconds with two of context and a
    recording whose loudness jumps by 30 dB.
    """
    folder = tiny(tmp_path / "net", feat_extract_norm=norm)
    samples = np.concatenate([0.03 * speech(20), speech(27.7, seed=1)])
    path = wav(tmp_path / "a.wav", samples)
    expected = reference(folder, samples)
    blocks = Wav2Vec2(str(folder), block=10, context=2)
    time, found = states(blocks, path)
    assert len(found) == len(expected) and blocks.hop == 300
    np.testing.assert_allclose(np.diff(time), 0.02, atol=1e-9)
    apart = np.abs(found - expected).max(axis=1)
    print(f"largest deviation with attention, {norm}: {apart.max():.4f}, spread {expected.std():.3f}")
    assert apart.max() < 0.03 * expected.std()
    border = np.arange(300, len(found), 300)
    beside = np.concatenate([apart[border - 1], apart[border]])
    assert beside.max() <= apart.max() and np.median(beside) < 3 * np.median(apart) + 1e-4
    without_attention(folder)
    _, found = states(Wav2Vec2(str(folder), block=10, context=2), path)
    np.testing.assert_allclose(found, reference(folder, samples), atol=2e-4)


def test_without_context_borders_would_show(tmp_path: Path) -> None:
    """So the test above can fail."""
    folder = without_attention(tiny(tmp_path / "net"))
    samples = speech(20)
    path = wav(tmp_path / "a.wav", samples)
    _, found = states(Wav2Vec2(str(folder), block=10, context=0), path)
    assert np.abs(found - reference(folder, samples)).max() > 0.01


def test_one_recording_after_another_and_chunks_of_any_size(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wav(tmp_path / "a.wav", speech(9)), wav(tmp_path / "b.wav", 0.1 * speech(8, seed=2))
    model = Wav2Vec2(str(weights), block=4, context=1)
    alone = states(Wav2Vec2(str(weights), block=4, context=1), second)[1]
    states(model, first)
    np.testing.assert_array_equal(states(model, second)[1], alone)
    whole = AudioFile.chunks
    monkeypatch.setattr(AudioFile, "chunks", lambda self, size=0, clock=None: whole(self, 997, clock))
    np.testing.assert_allclose(states(model, second)[1], alone, atol=1e-4)


def test_sound_shorter_than_a_state_and_sound_that_changes(weights: Path, tmp_path: Path) -> None:
    model = Wav2Vec2(str(weights))
    with pytest.raises(InputError, match=r"shorter than 0\.025 s"):
        states(model, wav(tmp_path / "a.wav", speech(0.02)))
    assert states(model, wav(tmp_path / "b.wav", speech(0.025)))[1].shape == (1, SIZE)
    sound = AudioFile(wav(tmp_path / "c.wav", speech(3)))
    survey = sound.survey()
    wav(tmp_path / "c.wav", speech(1))
    with pytest.raises(InputError, match="changed"):
        list(model.states(sound, survey))
    silent = states(model, wav(tmp_path / "d.wav", np.zeros(RATE, np.float32)))[1]
    assert np.isfinite(silent).all()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(weights: Path, tmp_path: Path) -> None:
    """Ten minutes of sound are 38 MB as samples; a pass over them takes no more than one over two minutes."""
    script = (
        "import resource, sys, torch\nfrom pathlib import Path\ntorch.set_num_threads(1)\n"
        "from hsemotion_cli.runtime import malloc\nmalloc.settle()\n"
        "from hsemotion_cli.media.audio import AudioFile\nfrom hsemotion_cli.models.wav2vec import Wav2Vec2\n"
        "model, sound = Wav2Vec2(sys.argv[1], block=20, context=2), AudioFile(Path(sys.argv[2]))\n"
        "count = sum(len(s.time) for s in model.states(sound, sound.survey()))\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for minutes in (2, 10):
        path = wav(tmp_path / f"{minutes}.wav", np.tile((speech(30) * 32767).astype(np.int16), 2 * minutes))
        done = subprocess.run(
            [sys.executable, "-c", script, str(weights), str(path)], capture_output=True, text=True, check=True
        )
        count, peak = map(int, done.stdout.split())
        assert count == (minutes * 60 * RATE - 400) // 320 + 1
        peaks.append(peak)
    print(f"peaks in MB: {[peak // 1024 for peak in peaks]}")
    assert peaks[1] - peaks[0] < 20 * 1024


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Fails every attempt to connect."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: connect(None, a))  # type: ignore[arg-type]
    yield tried


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HSEMOTION_OFFLINE", raising=False)
    return tmp_path / "hub"


def cache(hub: Path, folder: Path, name: str = wav2vec.NAME) -> Path:
    """Put weights into the cache as the hub's client does."""
    root = hub / f"models--{name.replace('/', '--')}"
    place = root / "snapshots" / ("0" * 40)
    shutil.copytree(folder, place)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    return place


def test_the_cache_is_used_without_network(weights: Path, hub: Path, no_network: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"not in the Hugging Face cache.*--weights facebook/wav2vec2-base-960h"):
        Wav2Vec2()
    place = cache(hub, weights)
    model = Wav2Vec2()
    assert model.provenance["file"] == wav2vec.NAME
    assert Wav2Vec2(wav2vec.NAME).provenance == model.provenance, "what is there is not fetched"
    assert not no_network
    (place / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors"):
        Wav2Vec2()
    assert not no_network


def test_only_what_is_named_is_fetched(
    weights: Path, hub: Path, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        if options.get("local_files_only"):
            raise FileNotFoundError(name)
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for where, offline in ((None, False), ("someone/net", True)):
        with pytest.raises(ModelUnavailable, match="not in the Hugging Face cache"):
            wav2vec.find(where, offline)
    monkeypatch.setenv("HSEMOTION_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="not in the Hugging Face cache"):
        wav2vec.find("someone/net")
    monkeypatch.delenv("HSEMOTION_OFFLINE")
    assert all(call["local_files_only"] for call in asked)
    assert wav2vec.find("someone/net") == weights
    assert asked[-1] == {"name": "someone/net", "allow_patterns": list(wav2vec.FILES), "token": False}
    assert not no_network
    monkeypatch.undo()
    with pytest.raises(UsageError, match="--weights"):
        wav2vec.find("nowhere")
    with pytest.raises(UsageError, match="--weights"):
        wav2vec.find("./no/such")


def test_a_name_that_cannot_be_fetched_is_one_sentence(hub: Path, no_network: list[Any]) -> None:
    with pytest.raises(ModelUnavailable, match="someone/net cannot be downloaded"):
        wav2vec.find("someone/net")
    assert no_network


def test_no_report_of_use_leaves_the_machine(weights: Path) -> None:
    script = (
        "import sys, socket\nsocket.socket.connect = lambda *a: sys.exit('connected')\n"
        "from hsemotion_cli.models.wav2vec import Wav2Vec2\nWav2Vec2(sys.argv[1])\n"
        "from huggingface_hub import constants\nassert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(weights)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_weights_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    def changed(name: str, change: Callable[[Path], object]) -> Path:
        folder = shutil.copytree(weights, tmp_path / name)
        change(folder)
        return folder

    def edit(file: str, **values: Any) -> Callable[[Path], object]:
        def change(folder: Path) -> None:
            content = json.loads((folder / file).read_text())
            (folder / file).write_text(json.dumps({**content, **values}))

        return change

    def drop(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors["encoder.layers.1.feed_forward.output_dense.weight"]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    def pickled(folder: Path) -> None:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    faults = {
        "other": (edit("config.json", model_type="hubert"), "hubert"),
        "adapter": (edit("config.json", add_adapter=True), "plain"),
        "rate": (edit("preprocessor_config.json", sampling_rate=8000), "8000"),
        "table": (lambda folder: (folder / "config.json").write_text("[]"), "not a table"),
        "text": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        "shape": (edit("config.json", hidden_size=48), "cannot be used|not those"),
        "lost": (drop, "feed_forward"),
        "pickle": (pickled, r"no model\.safetensors"),
        "damaged": (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "cannot be used"),
        "absent": (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config"),
    }
    for name, (change, reason) in faults.items():
        with pytest.raises(ModelUnavailable, match=reason) as raised:
            Wav2Vec2(str(changed(name, change)))
        assert "\n" not in str(raised.value)


# --- extract ----------------------------------------------------------------------------------------------------

EXTRACT: dict[str, Any] = {
    "model": "mp-blendshapes", "dtype": "float32", "faces": "all", "every": 1, "crops": False, "image_fps": 30.0,
    "min_face": None, "batch_size": 8, "backend": "auto", "device": "auto", "precision": "fp32", "threads": 1,
    "offline": True, "quiet": True, "audio": True,
}  # fmt: skip


def extract(videos: list[Path], out: Path, weights: Path, **options: Any) -> int:
    return call(extract_command.run, videos=videos, out=out, **{**EXTRACT, "weights": str(weights), **options})


@pytest.mark.parametrize("dtype", features.DTYPES)
def test_extract_writes_states_with_the_time_of_the_video(dtype: str, weights: Path, tmp_path: Path) -> None:
    samples = speech(3)
    path = encoded(tmp_path / "late.mkv", samples, RATE, "pcm_s16le", [(0, 3 * RATE, 1.5)], pictures=120)
    assert extract([path], tmp_path / "out", weights, dtype=dtype) == 0
    columns, facts = features.read(tmp_path / "out" / "late.features.parquet")
    stored = np.round(samples * 32767).astype(np.int16) / np.float32(32768)
    assert list(columns) == ["frame", "time", "face_id", "embedding"]
    np.testing.assert_array_equal(columns["frame"], np.arange(149))
    np.testing.assert_array_equal(columns["face_id"], 0)
    np.testing.assert_allclose(columns["time"], 1.5125 + 0.02 * np.arange(149), atol=1e-3)
    assert columns["embedding"].dtype == dtype
    np.testing.assert_allclose(columns["embedding"], reference(weights, stored), atol=4e-3)
    assert facts["kind"] == "audio" and facts["model"] == "wav2vec2" and facts["rate"] == 50
    assert facts["weights"]["sha256"] == sidecar.file_hash(weights / "model.safetensors")
    assert facts["source"] == {"name": "late.mkv", "sha256": sidecar.file_hash(path), "kind": "audio"}
    assert facts["video"] == {"fps": 25.0, "start": 0.0}
    assert facts["audio"]["start"] == pytest.approx(1.5, abs=1e-3) and facts["audio"]["seconds"] == 3


def test_extract_takes_folders_and_goes_on_after_a_failure(
    weights: Path, nobody: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    wav(folder / "1.wav", speech(1))
    shutil.copy(nobody, folder / "2.mp4")
    encoded(folder / "3.mp3", tone(1), RATE, "libmp3lame", [(0, RATE, 0)])
    (folder / "notes.txt").write_text("nothing")
    assert extract([folder], tmp_path / "out", weights, video_fps=30.0, quiet=False) == 3
    said = capsys.readouterr()
    assert "has no audio stream" in said.err and "49 states of sound, 50 a second" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.features.parquet", "3.features.parquet"]
    assert features.read(tmp_path / "out" / "1.features.parquet")[1]["video"] == {"fps": 30.0, "start": None}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video or sound file"):
        extract([tmp_path / "empty"], tmp_path / "out", weights)


def test_options_that_mean_nothing_are_refused(weights: Path, tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", speech(1))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"crops": True}, "--crops"),
        ({"every": 2}, "--every"),
        ({"min_face": 40}, "--min-face"),
        ({"backend": "onnx"}, "--backend"),
        ({"precision": "bf16"}, "--precision"),
        ({"video_fps": 0.0}, "--video-fps"),
        ({"dtype": "float64"}, "--dtype"),
        ({"device": "abacus"}, "device"),
        ({"audio": False}, "--audio"),
        ({"stream": "1"}, "--stream"),
        ({"deinterlace": "on"}, "--deinterlace"),
        ({"audio": False, "weights": None, "model": "wav2vec2"}, "wav2vec2"),
    ]
    for options, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            call(
                extract_command.run,
                videos=[path],
                out=tmp_path / "out",
                **{**EXTRACT, "weights": str(weights), **options},
            )


# --- heads ------------------------------------------------------------------------------------------------------


def write_states(
    folder: Path, video: str, time: np.ndarray, embeddings: np.ndarray, fps: float | None = 30.0, start: float = 0.0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"source": {"kind": "audio"}, "weights": {"sha256": "ab"}, "video": {"fps": fps, "start": start}}
    with (folder / f"{video}{matching.SUFFIX}").open("wb") as file:
        features.write_audio(iter([(time, embeddings)]), "wav2vec2", "float32", facts, file)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_frames_are_matched_with_states_by_time(tmp_path: Path) -> None:
    data = challenge.make_tracks(tmp_path / "set", videos=4, frames=90, paint=None)
    random = np.random.default_rng(3)
    starts, known = {}, {}
    for name in data.train:
        video = matching.recording(name)
        starts[video] = 0.4
        time = 0.9 + 0.0125 + 0.02 * np.arange(110)  # sound from 0.9 to 3.1 s, images from 0.4 to 3.4 s
        known[video] = (time, random.normal(0, 1, (len(time), 6)).astype(np.float32))
        write_states(tmp_path / "sound", video, *known[video], start=starts[video])
    truth = read_tree(tmp_path / "set", "train")
    base, parts = matching.gather(matching.find_files([tmp_path / "sound"]), {"train": truth})
    rows = parts["train"]
    assert (base.model, base.sha256, base.crop, base.embedding_size, base.outputs) == ("wav2vec2", "ab", None, 6, 0)
    expected = {}
    for name, labels in truth.items():
        time, embeddings = known[matching.recording(name)]
        for frame, expression in zip(labels.frames, labels.expression, strict=True):
            if expression >= 0:
                at = 0.4 + (frame - 1) / 30
                distance = np.abs(time - at)
                if distance.min() <= 0.05:
                    expected[name, int(frame)] = (embeddings[distance.argmin()], expression)
    found = rows.known("expression")
    assert {(str(rows.video[k]), int(rows.frame[k])) for k in found} == set(expected)
    assert any(str(name).endswith("_left") for name in rows.video) and len(expected) < len(truth) * 90
    for k in found:
        embedding, expression = expected[str(rows.video[k]), int(rows.frame[k])]
        np.testing.assert_array_equal(rows.embeddings[k], embedding)
        assert rows.expression[k] == expression


def test_an_unknown_frame_rate_is_reported(tmp_path: Path) -> None:
    data = challenge.make_tracks(tmp_path / "set", paint=None)
    name = next(iter(data.train))
    write_states(tmp_path / "sound", name, np.arange(50) * 0.02, np.ones((50, 4), np.float32), fps=None)
    with pytest.raises(InputError, match=r"--video-fps"):
        matching.gather(matching.find_files([tmp_path / "sound"]), {"train": read_tree(tmp_path / "set", "train")})


def test_visual_features_of_a_pair_still_need_a_file_each(tmp_path: Path) -> None:
    data = challenge.make_tracks(tmp_path / "set", paint=None)
    pair = next(name for name in data.train if name.endswith("_left"))
    path = tmp_path / "seen" / f"{matching.recording(pair)}{matching.SUFFIX}"
    path.parent.mkdir()
    keys = np.column_stack([np.arange(20), np.arange(20) / 30, np.zeros(20)])
    with path.open("wb") as file:
        features._write(iter([(keys, np.ones((20, 4)), None)]), "net", "float32", {"source": {"kind": "video"}}, file)
    with pytest.raises(InputError, match="no row of the features"):
        matching.gather(matching.find_files([path]), {"train": read_tree(tmp_path / "set", "train")})


def test_an_expression_head_is_trained_on_sound(tmp_path: Path) -> None:
    data = challenge.make_tracks(tmp_path / "set", videos=5, frames=120, masked=0.0, paint=None)
    random = np.random.default_rng(4)
    maps = random.normal(0, 1, (8, 12))
    for name, labels in data.beneath.items():
        if name.endswith("_right"):  # one recording for both, about the left one
            continue
        time = 0.0125 + 0.02 * np.arange(250)
        said = labels.expression[np.clip(np.searchsorted((labels.frames - 0.5) / 30, time), 0, len(labels.frames) - 1)]
        noise = random.normal(0, 0.1, (len(time), 12))
        write_states(tmp_path / "sound", matching.recording(name), time, (maps[said] + noise).astype(np.float32))
    out = tmp_path / "head.safetensors"
    brisk = ("--tasks", "expression", "--epochs", 20, "--rate", 0.02, "--batch", 64, "-q")
    run(
        "train",
        "heads",
        tmp_path / "sound",
        "--truth",
        tmp_path / "set",
        "--val-truth",
        tmp_path / "set",
        "-o",
        out,
        *brisk,
    )
    head = audio.check(heads.read(out))
    assert head.facts["validation"]["expression"]["accuracy"] > 0.8
    assert head.base == Base("wav2vec2", "ab", None, 12, 0)


def test_intensities_are_trained_on_statistics_of_sound(weights: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    lines = ["Filename," + ",".join(name.title().replace("_", " ") for name in EMOTIONAL_MIMICRY)]
    for k in range(12):
        loud = float(random.uniform(0.1, 1))
        wav(tmp_path / "clips" / f"{k:05d}.wav", loud * tone(1.0, hertz=300 + 800 * loud))
        lines.append(f"{k:05d}," + ",".join([f"{loud:.3f}"] * 6))
    (tmp_path / "train.csv").write_text("\n".join([*lines, ""]))
    extract([tmp_path / "clips"], tmp_path / "sound", weights)
    out = tmp_path / "emi.safetensors"
    given = ("--truth", tmp_path / "train.csv", "--kind", "emi", "--epochs", 3, "-o", out, "-q")
    run("train", "heads", tmp_path / "sound", *given)
    head = heads.read(out)
    assert head.parts[heads.CLIP_TASK].layers[0][0].shape[1] == 4 * SIZE
    columns, _ = features.read(tmp_path / "sound" / f"00003{matching.SUFFIX}")
    values = columns["embedding"].astype(np.float64)
    moments = np.concatenate([values.mean(0), values.std(0), values.min(0), values.max(0)])
    weight, bias = head.parts[heads.CLIP_TASK].layers[-1]
    np.testing.assert_allclose(head.clip(columns["embedding"], None), 1 / (1 + np.exp(-(weight @ moments + bias))))
    with pytest.raises(UsageError, match=r"kind|clips|emi"):
        heads.per_face(out)


# --- annotate ---------------------------------------------------------------------------------------------------

ANNOTATE: dict[str, Any] = {
    "model": "mp-blendshapes", "head": [], "recipe": None, "blend": None, "smooth": None, "max_gap": None,
    "interpolate": None, "threshold": [], "formats": "csv", "overlay": False, "faces": "all", "start": None,
    "end": None, "fps": None, "every": 1, "crops": False, "image_fps": 30.0, "min_face": None, "det_threshold": 0.5,
    "min_coverage": 0.0, "batch_size": 8, "backend": "auto", "device": "auto", "precision": "fp32", "threads": 1,
    "offline": True, "quiet": True, "verbose": False, "json": False,
}  # fmt: skip


def audio_head(folder: Path, weights: Path, **changes: Any) -> Path:
    """A head on the states of those weights that says something else of every sound."""
    random = np.random.default_rng(9)
    layers = ((random.normal(0, 1, (8, SIZE)), random.normal(0, 1, 8)),)
    base = Base("wav2vec2", sidecar.file_hash(weights / "model.safetensors"), None, SIZE, 0)
    part = Part("features", "softmax", AFFWILD2_EXPRESSIONS, layers)
    head = Head("h", "", "unitask", base, {"expression": part}, {"terms": "ours"})
    folder.mkdir(parents=True, exist_ok=True)
    heads.write(replace(head, **changes), folder / "ear.safetensors", "a page")
    return folder / "ear.safetensors"


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_talk(tmp_path_factory.mktemp("talk") / "talk.mkv")


def make_talk(path: Path) -> Path:
    """Fifty frames of one face from 0 to 2 s; sound from 0.5 to 1.5 s."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        stream: Any = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for k in range(50):
            picture = av.VideoFrame.from_ndarray(clips.portrait(shift=k % 5), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        samples = np.round(speech(1) * 32767).astype(np.int16)
        for start in range(0, RATE, 1000):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1000], format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), RATE // 2 + start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def annotate(video: Path, out: Path, head: Path | None, weights: Path | None, **options: Any) -> int:
    given = {"audio_head": head, "audio_weights": str(weights) if weights else None}
    return call(annotate_command.run, videos=[video], out=out, **{**ANNOTATE, **given, **options})


@pytest.fixture(scope="session")
def together(talk: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a talk annotated by eye and ear, and the head ``ear.safetensors``."""
    folder = tmp_path_factory.mktemp("together")
    assert annotate(talk, folder, audio_head(folder, weights), weights) == 0
    return folder


def test_annotate_blends_what_it_hears_with_what_it_sees(
    together: Path, talk: Path, weights: Path, tmp_path: Path
) -> None:
    timeline = raw_scores.read(together / "talk.raw.npz")
    assert set(timeline.scores) == {"mp-blendshapes", "wav2vec2"}
    assert set(timeline.scores["wav2vec2"]) == {"expression"}
    said = timeline.scores["wav2vec2"]["expression"]
    # What was heard, once more: states by transformers, the head by hand, and the state that is nearest.
    samples = np.round(speech(1) * 32767).astype(np.int16) / np.float32(32768)
    states_, head = reference(weights, samples).astype(np.float64), heads.read(together / "ear.safetensors")
    weight, bias = head.parts["expression"].layers[0]
    powers = np.exp(states_ @ weight.T + bias)
    shares = powers / powers.sum(axis=1, keepdims=True)
    middle = 0.5 + 0.0125 + 0.02 * np.arange(len(shares))
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    silent = 0
    for k, time in enumerate(timeline.time[timeline.row]):
        distance = np.abs(middle - time)
        if distance.min() > 0.05:
            assert np.isnan(said[k]).all()
            silent += 1
        else:
            np.testing.assert_allclose(said[k, columns], shares[distance.argmin()], atol=2e-3)
            assert np.isnan(said[k, EXPRESSIONS.index("contempt")])
    assert 20 < silent < 28
    # The blend, once more by hand: a class that one lacks is the other's.
    seen = timeline.scores["mp-blendshapes"]["expression"]
    table = load(together / "talk.csv")[[f"p_{name}" for name in EXPRESSIONS]].to_numpy(float)
    quiet = np.isnan(said).all(axis=1)
    np.testing.assert_allclose(table[quiet], seen[quiet], atol=1e-5)
    one, other = seen[~quiet].astype(float), said[~quiet].astype(float)
    lacks = np.isnan(one).all(axis=0) & ~np.isnan(other).all(axis=0), np.isnan(other).all(axis=0)
    full_one = np.where(lacks[0], other, one * (1 - other[:, lacks[0]].sum(axis=1, keepdims=True)))
    full_other = np.where(lacks[1], one, other * (1 - one[:, lacks[1]].sum(axis=1, keepdims=True)))
    np.testing.assert_allclose(table[~quiet], 0.7 * full_one + 0.3 * full_other, atol=1e-5)
    # Other tasks are untouched.
    assert annotate(talk, tmp_path, None, None) == 0
    alone, both = load(tmp_path / "talk.csv"), load(together / "talk.csv")
    blended = (
        "p_",
        "expression",
        "compound",
        "c_",
        "uncertainty_expression",
        "uncertainty_va",
    )  # both read expressions
    others = [name for name in alone.columns if not name.startswith(blended)]
    assert len(others) > 15
    for name in others:
        assert alone[name].equals(both[name]), name


def test_the_sidecar_records_head_and_weights_and_the_table_can_be_rebuilt(
    together: Path, weights: Path, tmp_path: Path
) -> None:
    content = json.loads((together / "talk.json").read_text())
    assert content["recipe"]["models"] == ["mp-blendshapes", "wav2vec2"]
    assert content["recipe"]["blend"] == {"expression": 0.7}
    model = next(model for model in content["models"] if model["name"] == "wav2vec2")
    assert model["sha256"] == sidecar.file_hash(weights / "model.safetensors")
    assert model["head"]["sha256"] == sidecar.file_hash(together / "ear.safetensors")
    assert model["head"]["terms"] == "ours" and model["tasks"] == ["expression"]
    run("smooth", together / "talk.csv", "-o", tmp_path, "--blend", "expression=1", "-q")
    seen = raw_scores.read(together / "talk.raw.npz").scores["mp-blendshapes"]["expression"]
    neutral = load(tmp_path / "talk.csv")["p_neutral"].to_numpy(float)
    assert np.isfinite(neutral).all()
    source = predictions.load(together / "talk.raw.npz")
    assert predictions.predict(source).tasks["expression"].shape == (50, len(EXPRESSIONS))
    assert len(seen) == 50


def test_valence_arousal_and_action_units_are_blended_with_sound_and_wavlm_has_its_name(
    talk: Path, tmp_path: Path
) -> None:
    """A head on WavLM for both: in rows with sound 0.7 of what is seen and 0.3 of what is heard, else what is seen."""
    folder, random = tiny(tmp_path / "net", kind="WavLM"), np.random.default_rng(3)
    extract([talk], tmp_path / "sound", folder)
    columns, facts = features.read(tmp_path / "sound" / f"talk{matching.SUFFIX}")
    assert facts["model"] == "wavlm" and facts["weights"]["network"] == "wavlm"
    parts = {}
    for task, activation in (("valence_arousal", "tanh"), ("action_units", "sigmoid")):
        layer = random.normal(0, 1, (len(TASKS[task]), SIZE)), np.zeros(len(TASKS[task]))
        parts[task] = Part("features", activation, TASKS[task], (layer,))
    base = Base("wavlm", sidecar.file_hash(folder / "model.safetensors"), None, SIZE, 0)
    heads.write(Head("h", "", "unitask", base, parts, {}), tmp_path / "ear.safetensors", "a page")
    assert annotate(talk, tmp_path / "out", tmp_path / "ear.safetensors", folder) == 0
    content = json.loads((tmp_path / "out" / "talk.json").read_text())
    assert content["recipe"]["models"] == ["mp-blendshapes", "wavlm"]
    assert content["recipe"]["blend"] == {"valence_arousal": 0.7, "action_units": 0.7}
    assert next(m for m in content["models"] if m["name"] == "wavlm")["tasks"] == list(parts)
    timeline, table = raw_scores.read(tmp_path / "out" / "talk.raw.npz"), load(tmp_path / "out" / "talk.csv")
    distance = np.abs(columns["time"][:, None] - timeline.time[timeline.row])
    state, audible = distance.argmin(axis=0), distance.min(axis=0) <= 0.05
    assert 20 < audible.sum() < 30 < len(audible)
    names = {"valence_arousal": ["valence", "arousal"], "action_units": [f"{unit}_p" for unit in ACTION_UNITS]}
    for task, part in parts.items():
        z = columns["embedding"].astype(np.float64)[state] @ part.layers[0][0].T
        said = np.tanh(z) if task == "valence_arousal" else 1 / (1 + np.exp(-z))
        seen = timeline.scores["mp-blendshapes"][task]
        expected = np.where(audible[:, None], 0.7 * seen + 0.3 * said, seen)
        np.testing.assert_allclose(table[names[task]].to_numpy(float), expected, atol=2e-3)
        np.testing.assert_array_equal(np.isnan(timeline.scores["wavlm"][task]).all(axis=1), ~audible)
    assert set(timeline.scores["wavlm"]) == set(parts)


def test_weight_and_recipe_of_the_user_win(together: Path, talk: Path, weights: Path, tmp_path: Path) -> None:
    head = together / "ear.safetensors"
    assert annotate(talk, tmp_path / "a", head, weights, blend="expression=0.5") == 0
    assert json.loads((tmp_path / "a" / "talk.json").read_text())["recipe"]["blend"]["expression"] == 0.5
    again = annotate(talk, tmp_path / "b", head, weights, model=None, recipe=tmp_path / "a" / "talk.json")
    assert again == 0
    assert (tmp_path / "b" / "talk.csv").read_bytes() == (tmp_path / "a" / "talk.csv").read_bytes()
    plain = tmp_path / "plain.toml"
    plain.write_text('models = ["mp-blendshapes", "wav2vec2"]\n[blend]\nexpression = 0.9\n')
    assert annotate(talk, tmp_path / "c", head, weights, model=None, recipe=plain) == 0
    recipe = json.loads((tmp_path / "c" / "talk.json").read_text())["recipe"]
    assert recipe["blend"]["expression"] == 0.9
    assert Recipe.from_json(recipe).to_json() == recipe


def test_the_part_that_is_analysed_does_not_change_what_is_heard(
    together: Path, talk: Path, weights: Path, tmp_path: Path
) -> None:
    assert annotate(talk, tmp_path, together / "ear.safetensors", weights, start="0.8", end="1.2", every=2) == 0
    part, whole = raw_scores.read(tmp_path / "talk.raw.npz"), raw_scores.read(together / "talk.raw.npz")
    rows = np.isin(whole.index[whole.row], part.index)
    assert rows.sum() == len(part.row) == 5
    np.testing.assert_array_equal(part.scores["wav2vec2"]["expression"], whole.scores["wav2vec2"]["expression"][rows])


def test_a_head_that_does_not_fit_is_refused_before_any_frame(
    together: Path, talk: Path, weights: Path, nobody: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ear = together / "ear.safetensors"
    good = heads.read(ear)
    seeing = audio_head(tmp_path / "seeing", weights, base=replace(good.base, model="mp-blendshapes"))
    unknown = audio_head(tmp_path / "unknown", weights, base=replace(good.base, model="wavlm", sha256=None))
    other = tiny(tmp_path / "other", seed=1)
    plain = tmp_path / "plain.json"
    plain.write_text('{"models": ["mp-blendshapes", "wav2vec2"]}')
    wrong: list[tuple[dict[str, Any], type[HsemotionError], str]] = [
        ({"model": "mp-blendshapes,mt-mobilefacenet"}, UsageError, "third model"),
        ({"model": None}, UsageError, "third model"),
        ({"model": "wav2vec2"}, UsageError, "needs a model for faces beside"),
        ({"head": seeing}, UsageError, "--head"),
        ({"head": unknown}, ModelUnavailable, r"trained with wavlm.*given are wav2vec2"),
        ({"weights": other}, ModelUnavailable, "--audio-weights"),
        ({"head": None}, UsageError, "--audio-head"),
        ({"head": None, "weights": None, "recipe": plain, "model": None}, UsageError, "--audio-head"),
        ({"head": None, "weights": None, "model": "mp-blendshapes,wav2vec2"}, UsageError, "--audio-head"),
    ]
    for options, kind, reason in wrong:
        head, on = options.pop("head", ear), options.pop("weights", weights)
        with pytest.raises(kind, match=reason):
            annotate(talk, tmp_path / "out", head, on, **options)
    with pytest.raises(UsageError, match="--audio-head"):
        call(annotate_command.run, videos=[talk], out=tmp_path / "out", **{**ANNOTATE, "head": [ear], "model": None})
    assert annotate(nobody, tmp_path / "out", ear, weights) == InputError.exit_code
    assert "has no audio stream" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("nobody*"))


def test_nothing_is_heard_of_a_timeline_without_faces() -> None:
    from hsemotion_cli.timeline import gather

    heard_ = audio.AudioScores("wav2vec2", np.array([0.1]), {"expression": np.ones((1, len(EXPRESSIONS)), np.float32)})
    assert heard_.added_to(gather([])).scores["wav2vec2"]["expression"].shape == (0, len(EXPRESSIONS))


def test_a_clock_without_gaps_is_a_straight_line() -> None:
    times = Clock([(0, 2.5)]).times(np.arange(0, 32000, 1000, dtype=float))
    np.testing.assert_allclose(times, 2.5 + np.arange(32) / 16)
