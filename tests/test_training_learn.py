"""A network learns, its best epoch is kept, and a killed training ends as one left in peace.

Run as a program, this file is the process that imports everything once and forks one child a try.
"""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from extract.encoder_spec import EncoderSpec
from extract.training import learn as learning
from extract.training.design import Design, make_design
from extract.training.feeding import MappedFile
from extract.training.history import best_of, is_over
from extract.training.learn import Where, learn
from extract.training.material import Epoch, Lesson, Material
from extract.training.networks import Classifier
from extract.training.quiet import load
from triher.errors import StopRun
from triher.progress import Reporter
from triher.settings import FinetuneConfig

ROOT = Path(__file__).parents[1]
QUIET = Reporter(quiet=True)
CPU = Where(torch.device("cpu"))
SPEC = EncoderSpec("tiny", "none", "tiny", "file:none", 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "MIT", "none")
OPTIONS = FinetuneConfig(epochs=3, batch_size=8, learning_rate=0.01)
N_PATIENTS = 15


class Tiny(Classifier):
    """A network with batch norm and dropout, in the place of a real one."""

    def __init__(self, design):
        torch.nn.Module.__init__(self)
        self.design = design
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 5, stride=4),
            torch.nn.BatchNorm2d(6),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Dropout(design.options.dropout),
            torch.nn.Linear(24, design.n_classes),
        )

    def forward(self, batch):
        return self.net(batch)


def tiny(design, weights, seed):
    """What `extract.training.networks.untrained` does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny(design)


def design_of(**options) -> Design:
    return make_design(SPEC, FinetuneConfig.model_validate(OPTIONS.model_dump() | options), 3)


def make_material() -> Material:
    """Two pictures a patient, whose class is seen in their grays."""
    rng = np.random.default_rng(0)
    y, patient = np.arange(N_PATIENTS) % 3, np.repeat(np.arange(N_PATIENTS), 2)
    pixels = rng.integers(0, 130, (2 * N_PATIENTS, 3, 32, 32)) + 60 * y[patient][:, None, None, None]
    return Material(pixels.astype(np.uint8), patient, y, np.zeros((N_PATIENTS, 0), np.int64))


LESSON = Lesson("fold-0", np.arange(10), np.arange(10, 15), 7)


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setattr(load("extract.training.fitting"), "untrained", tiny)


def run(folder, design=None, material=None, lesson=LESSON, where=CPU, reporter=QUIET):
    return learn(design or design_of(), None, material or make_material(), lesson, where, folder, reporter)


def assert_same(one, other):
    """Losses and weights agree bit for bit."""
    assert one.curve == other.curve
    assert one.best_epoch == other.best_epoch
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


# What a training leaves


def test_a_training_leaves_its_best_weights_and_its_curve_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    learned = run(tmp_path / "fold-0")
    assert [row.epoch for row in learned.curve] == [1, 2, 3]
    assert learned.curve[-1].training_loss < learned.curve[0].training_loss
    assert learned.curve[-1].learning_rate == 0
    assert learned.best_epoch == best_of(learned.curve).epoch
    assert learned.pictures_per_s > 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "fold-0/curve.csv",
        "fold-0/done.safetensors",
    ]
    out, err = capfd.readouterr()
    assert out + err == ""  # Lightning says nothing
    monkeypatch.setattr(load("extract.training.fitting"), "untrained", None)
    again = run(tmp_path / "fold-0")
    assert_same(again, learned)
    assert again.pictures_per_s == 0


def test_torch_and_signals_are_left_as_they_were(tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(tmp_path, design_of(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_the_validation_loss_is_the_mean_over_patients_of_the_mean_over_their_pictures(tmp_path):
    material = make_material()
    kept = np.ones(2 * N_PATIENTS, bool)
    kept[21] = False  # one validation patient has one picture
    material = replace(material, pixels=material.pixels[kept], patient=material.patient[kept])
    learned = run(tmp_path, material=material)
    network = tiny(design_of(), None, 0).eval()
    network.load_state_dict(learned.tensors)
    expected = []
    for patient in LESSON.validation:
        mean, std = (np.array(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
        shown = (material.pixels[material.patient == patient] / 255 - mean) / std
        with torch.no_grad():
            outputs = network(torch.from_numpy(shown).float())
        expected.append(float(cross_entropy(outputs, torch.full((len(shown),), int(material.y[patient])))))
    assert best_of(learned.curve).validation_loss == pytest.approx(np.mean(expected), rel=1e-5)


def test_training_stops_when_the_validation_loss_no_longer_falls(tmp_path):
    material = make_material()
    wrong = material.y.copy()
    wrong[10:] = (wrong[10:] + 1) % 3  # the better the network, the worse for these
    learned = run(tmp_path, design_of(epochs=12, patience=2, learning_rate=0.05), replace(material, y=wrong))
    assert len(learned.curve) == learned.best_epoch + 2 < 12


def test_patience_and_epochs_end_a_training():
    rows = [Epoch("n", k + 1, 1.0, loss, 0.1) for k, loss in enumerate((0.9, 0.8, 0.85, 0.8))]
    assert best_of(rows).epoch == 2  # the first of equals
    assert [is_over(rows[:k], 10, 2) for k in range(5)] == [False, False, False, False, True]
    assert is_over(rows[:3], 3, 8)


def test_progress_names_the_validation_loss(tmp_path, capfd):
    learned = run(tmp_path, design_of(epochs=2), reporter=Reporter())
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"fold-0: epoch 1, validation loss {learned.curve[0].validation_loss:.4f} (best ")
    assert lines[-1].startswith("training fold-0: 6 of 6 in ")


# The same again


def test_seed_decides_and_place_and_memory_do_not(tmp_path):
    first = run(tmp_path / "a")
    assert_same(run(tmp_path / "b", where=Where(torch.device("cpu"), "bfloat16", "device")), first)
    other = run(tmp_path / "c", lesson=replace(LESSON, seed=8))
    assert other.curve != first.curve


class Killed(BaseException):
    """Stands for the end of the process."""


def killing(moment: int, kill):
    """Patches that end the process at the n-th moment: each step, and before and after each file gets its name."""
    left = [moment]

    def count():
        left[0] -= 1
        if left[0] == 0:
            kill()

    learner = load("extract.training.learner").Learner
    step, name = learner.training_step, Path.replace

    def training_step(self, *args):
        count()
        return step(self, *args)

    def rename(self, target):
        count()
        done = name(self, target)
        count()
        return done

    return mock.patch.multiple(learner, training_step=training_step), mock.patch.object(Path, "replace", rename)


def attempt(folder, moment, kill):
    """Train until the moment; whether all was done before it came."""
    steps, names = killing(moment, kill)
    try:
        with steps, names:
            run(folder)
    except Killed:
        return False
    return True


def raise_killed():
    raise Killed


def test_a_training_cut_short_anywhere_ends_as_one_left_in_peace(tmp_path):
    expected = run(tmp_path / "whole")
    moments = (2, 5, 6, 8, 17, 25)  # a step, each file of epoch 1, and of the last the best weights and the result
    for moment in moments:
        assert not attempt(tmp_path / str(moment), moment, raise_killed)
        assert_same(run(tmp_path / str(moment)), expected)


def test_what_another_training_left_is_not_used(tmp_path):
    expected = run(tmp_path / "whole", lesson=replace(LESSON, seed=8))
    assert not attempt(tmp_path / "cut", 12, raise_killed)
    assert (tmp_path / "cut" / "last.ckpt").is_file()
    assert_same(run(tmp_path / "cut", lesson=replace(LESSON, seed=8)), expected)
    assert_same(run(tmp_path / "whole"), run(tmp_path / "new"))


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    expected = run(tmp_path / "whole")
    assert not attempt(tmp_path / "cut", 12, raise_killed)
    last = tmp_path / "cut" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert_same(run(tmp_path / "cut"), expected)


def test_the_key_holds_what_decides_and_nothing_else():
    material, design = make_material(), design_of()
    key = learning.lesson_key(design, None, material, LESSON, CPU)
    darker = material.pixels.copy()
    darker[-1] -= 1
    others = [
        (design_of(learning_rate=0.02), material, LESSON),
        (design, replace(material, pixels=darker), LESSON),
        (design, replace(material, y=material.y[::-1].copy()), LESSON),
        (design, material, replace(LESSON, seed=8)),
        (design, material, replace(LESSON, validation=np.arange(11, 15))),
    ]
    keys = {learning.lesson_key(one, None, pictures, lesson, CPU) for one, pictures, lesson in others}
    assert len(keys | {key}) == 6
    assert learning.lesson_key(design_of(folds=2, resident="host"), None, material, LESSON, CPU) == key
    shorter = replace(LESSON, validation=np.arange(10, 14))
    unseen = [
        learning.lesson_key(design, None, replace(material, pixels=p), shorter, CPU)
        for p in (darker, material.pixels)
    ]
    assert unseen[0] == unseen[1]  # of a patient who is not in the lesson


@pytest.mark.slow
def test_a_killed_process_goes_on_and_two_share_the_batches(tmp_path):
    command = [sys.executable, str(Path(__file__)), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def main(folder: Path) -> None:
    """What needs processes of its own, with one thread each, as several do not survive a fork."""
    torch.set_num_threads(1)
    fitting = load("extract.training.fitting")
    with mock.patch.object(fitting, "untrained", tiny):
        kill_again_and_again(folder)
    with mock.patch.object(fitting, "untrained", without_norm):
        share_the_batches(folder)


def without_norm(design, weights, seed):
    """A network in which no picture of a batch knows of the others."""
    network = tiny(design, weights, seed)
    network.net[1] = torch.nn.Identity()
    return network


def share_the_batches(folder: Path) -> None:
    """Two processes that each take their share of every batch learn what one alone does, up to rounding."""
    still = {"flips": "none", "rotate_deg": 0, "scale": 0.0, "shift": 0.0, "brightness": 0.0, "contrast": 0.0}
    design = design_of(dropout=0.0, augment=still)
    cpu = torch.device("cpu")
    one, two = (run(folder / str(len(cpus)), design, where=Where(cpus)) for cpus in ((cpu,), (cpu, cpu)))
    assert all(torch.allclose(one.tensors[name], two.tensors[name], atol=1e-6) for name in one.tensors)
    for row, other in zip(one.curve, two.curve, strict=True):
        assert abs(row.training_loss - other.training_loss) < 1e-5
        assert abs(row.validation_loss - other.validation_loss) < 1e-5


def kill_again_and_again(folder: Path) -> None:
    """Kill forked children at random moments until each training is done; then compare."""
    rng = np.random.default_rng(0)

    def in_child(work) -> int:
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        return os.waitpid(child, 0)[1]

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(partial(run, folder / "whole")) == 0
    n_kills = 0
    for k in range(4):
        place = folder / f"cut-{k}"
        while status := in_child(partial(attempt, place, int(rng.integers(1, 26)), end)):
            assert os.WIFSIGNALED(status)
            assert os.WTERMSIG(status) == signal.SIGKILL
            n_kills += 1
        assert_same(run(place), run(folder / "whole"))
        assert sorted(path.name for path in place.iterdir()) == ["curve.csv", "done.safetensors"]
    assert n_kills > 4


# What is refused


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_epochs_before(tmp_path, monkeypatch):
    learner = load("extract.training.learner").Learner
    step = learner.training_step

    def spoiled(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        return loss * float("nan") if self.current_epoch == 1 else loss

    monkeypatch.setattr(learner, "training_step", spoiled)
    with pytest.raises(
        StopRun, match=r"fold-0: epoch 2 ended with .* of nan; .*0\.01 at most.*finetune\.learning_rate"
    ):
        run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-1.safetensors", "curve.csv", "last.ckpt"]


def test_lightning_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("extract.training.quiet.find_spec", lambda _: None)
    with pytest.raises(StopRun, match=r"lightning.*pip install 'triher\[finetune\]'"):
        run(tmp_path)


def test_a_lesson_that_cannot_be_taught_is_refused(tmp_path):
    with pytest.raises(StopRun, match="no picture is there to tell when the training should stop"):
        run(tmp_path, lesson=replace(LESSON, validation=np.arange(0)))
    with pytest.raises(StopRun, match=r"finetune\.batch_size is 1, and 20 pictures .* at least 2 a batch"):
        run(tmp_path, design_of(batch_size=1))


def test_an_interrupt_stays_one(tmp_path, monkeypatch):
    learner = load("extract.training.learner").Learner

    def interrupted(self, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Its parts


def test_norms_and_biases_do_not_decay():
    make_optimizer = load("extract.training.learner").make_optimizer
    decayed, kept = make_optimizer(Tiny(design_of()), OPTIONS).param_groups
    assert decayed["weight_decay"] == 0.05
    assert kept["weight_decay"] == 0
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in kept["params"]] == [1, 1, 1, 1]


def test_another_process_maps_the_pictures_for_itself(tmp_path):
    material = make_material()
    np.save(tmp_path / "pixels.npy", material.pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert MappedFile.of(material.pixels) is None
    assert MappedFile.of(mapped[3:]) is None
    learner_of = load("extract.training.learner").Learner
    design = design_of()
    learner = learner_of(tiny(design, None, 0), design, replace(material, pixels=mapped), LESSON, "auto")
    sent = pickle.dumps(learner)
    assert len(sent) < 0.5 * mapped.nbytes
    with mock.patch("extract.training.learner.hush"):
        there = pickle.loads(sent)  # noqa: S301 - our own
    assert np.array_equal(there.material.pixels, material.pixels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
