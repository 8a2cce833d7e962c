"""The same command again is all that a run needs that was stopped or killed."""

from __future__ import annotations

import math
import shutil
from functools import partial

import pytest

from flowpolicy.agents import AgentStack
from flowpolicy.checkpoint import Checkpoints
from flowpolicy.cli import main
from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Evaluation
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import DivergedError, Stopped, train, train_seeds, train_together
from flowpolicy.train.run import Run
from tests.run.conftest import MAZE, TINY
from tests.run.pole import SHORT, pole_data
from tests.run.test_online import interrupted, without_times

OFFLINE = SHORT.replace(online_steps=0, offline_steps=20, eval_every=10, eval_episodes=1)
FINISHED = "is finished: there is nothing to do"


pytestmark = pytest.mark.usefixtures("quick_curves")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data) -> RunFolder:
    """A run that was never disturbed; read-only."""
    return train(OFFLINE, tmp_path_factory.mktemp("whole") / "run", dataset=data, progress=False)


def again(config, out, data) -> list[str]:
    said: list[str] = []
    train(config, out, dataset=data, resume="auto", progress=False, announce=said.append)
    return said


def same_run(one: RunFolder, other: RunFolder) -> bool:
    """But for the global generators, which a run that begins anew finds as they are."""
    tables = [[without_times(f.metrics), without_times(f.evaluations)] for f in (one, other)]
    files = [f.checkpoints.read(f.checkpoints.steps()[-1]).files for f in (one, other)]
    names = ("model.safetensors", "optimizer.safetensors")
    return tables[0] == tables[1] and all(files[0][name] == files[1][name] for name in names)


class Killed(BaseException):
    """Ends a run without a chance to save."""


def killed(config, out, data, update, resume=False) -> RunFolder:
    def write(run: Run, metrics) -> None:
        if run.agent.step == update:
            raise Killed
        original(run, metrics)

    original = Run.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write", write)
        with pytest.raises(Killed):
            train(config, out, dataset=data, resume=resume, progress=False)
    return RunFolder(out)


def test_it_begins_goes_on_and_ends(whole, out, data):
    broken = killed(OFFLINE, out, data, 7, resume="auto")
    assert broken.checkpoints.steps() == []
    assert len(without_times(broken.metrics)) == 1  # written before the first checkpoint
    killed(OFFLINE, out, data, 13, resume="auto")  # from the beginning
    assert broken.checkpoints.steps() == [10]
    assert again(OFFLINE, out, data)[-1] == "resumed at update 10"
    assert same_run(broken, whole)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert again(OFFLINE, out, data) == [f"{out} {FINISHED}"]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_a_stopped_run_goes_on(whole, out, data):
    broken = interrupted(OFFLINE, out, data, 13)
    assert again(OFFLINE, out, data)[-1] == "resumed at update 13"
    assert same_run(broken, whole)


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", ".tmp-config.json"]])
def test_a_folder_in_which_nothing_was_written_yet(whole, out, data, left):
    out.mkdir()
    for name in left:
        (out / name).write_text("")
    again(OFFLINE, out, data)
    assert same_run(RunFolder(out), whole)


def test_files_of_others_in_a_folder_that_begins_anew_stay(out, data):
    killed(OFFLINE, out, data, 7)
    (out / "notes.txt").write_text("mine")
    again(OFFLINE, out, data)
    assert (out / "notes.txt").read_text() == "mine"


def test_what_is_no_run_is_left_alone(out, data):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not the folder of a run: it holds notes\.txt but"):
        again(OFFLINE, out, data)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    file = out.with_name("file")
    file.write_text("")
    with pytest.raises(ConfigError, match="is in the way and no folder"):
        again(OFFLINE, file, data)


def test_another_run_is_left_alone(out, data):
    folder = killed(OFFLINE, out, data, 7)
    before = folder.metrics.read_text()
    with pytest.raises(ConfigError, match="is a run with seed 0, not 1; resume it with the"):
        again(OFFLINE.replace(seed=1), out, data)
    assert folder.metrics.read_text() == before


def test_a_finished_run_whose_last_checkpoint_is_damaged_goes_on(whole, out, data):
    shutil.copytree(whole.path, out, symlinks=True)
    folder = RunFolder(out)
    (folder.checkpoints.path(20) / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="trying the one before it"):
        assert again(OFFLINE, out, data)[-1] == "resumed at update 10"
    assert same_run(folder, whole)


def test_a_run_without_an_intact_checkpoint_is_not_begun_anew(out, data):
    folder = killed(OFFLINE, out, data, 13)
    (folder.checkpoints.path(10) / "state.json").unlink()
    with (
        pytest.warns(UserWarning, match="trying the one before it"),
        pytest.raises(RuntimeError, match="none of the 1 checkpoints in .* is intact"),
    ):
        again(OFFLINE, out, data)
    assert folder.checkpoints.steps() == [10]


def test_online_it_is_finished_after_its_last_step(out, data):
    config = SHORT.replace(online_steps=6, eval_every=0, eval_episodes=1)
    killed(config, out, data, 13, resume="auto")
    assert again(config, out, data)[-1] == "resumed at update 10"
    assert again(config, out, data) == [f"{out} {FINISHED}"]


def test_events_after_the_checkpoint_are_hidden(out, data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = OFFLINE.replace(tensorboard=True, log_every=5)
    killed(config, out, data, 7)
    killed(config, out, data, 17, resume="auto")
    again(config, out, data)
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train/loss_flow")] == [5, 10, 15, 20]
    assert [e.step for e in events.Scalars("eval/policy/return")] == [10, 20]


# --- several seeds -------------------------------------------------------------------------------


def together(out, data, resume=False, **changes) -> list[str]:
    said: list[str] = []
    options = {"dataset": data, "resume": resume, "progress": False, "announce": said.append}
    train_together(OFFLINE.replace(**changes), (0, 3), out, **options)
    return said


@pytest.fixture(scope="module")
def both(tmp_path_factory, data) -> RunFolder:
    """Two seeds in one program, never disturbed; read-only."""
    out = tmp_path_factory.mktemp("both") / "run"
    together(out, data)
    return RunFolder(out)


def killed_together(out, data, update, **options) -> RunFolder:
    def write(run: Run, metrics) -> None:
        if run.agent.step == update and run.config.seed == 3:
            raise Killed
        original(run, metrics)

    original = Run.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write", write)
        with pytest.raises(Killed):
            together(out, data, **options)
    return RunFolder(out)


def test_seeds_of_one_program_go_on_from_a_common_step(both, out, data):
    folder = killed_together(out, data, 7, resume="auto")
    killed_together(out, data, 20, resume="auto")  # one seed has saved step 20, the other has not
    assert [seed.checkpoints.steps() for seed in folder.seeds()] == [[10, 20], [10]]
    assert together(out, data, resume="auto")[1:] == ["resumed at update 10"]
    assert all(same_run(*pair) for pair in zip(folder.seeds(), both.seeds(), strict=True))
    assert together(out, data, resume="auto") == [f"{out} {FINISHED}"]


def test_seeds_of_which_some_have_no_checkpoint_yet_begin_anew(both, out, data):
    folder = killed_together(out, data, 10, resume="auto")
    assert [seed.checkpoints.steps() for seed in folder.seeds()] == [[10], []]
    assert not any(line.startswith("resumed") for line in together(out, data, resume="auto"))
    assert all(same_run(*pair) for pair in zip(folder.seeds(), both.seeds(), strict=True))


def test_seeds_keep_a_common_step_also_where_few_checkpoints_are_kept(out, data):
    few = {"keep_checkpoints": 1, "keep_best": False, "resume": "auto"}
    folder = killed_together(out, data, 20, **few)
    assert [seed.checkpoints.steps() for seed in folder.seeds()] == [[10, 20], [10]]
    assert "resumed at update 10" in together(out, data, **few)


@pytest.mark.timeout(300)
def test_seeds_go_on_together_or_in_processes(out, data):
    """Whatever number of threads either writes down."""
    config = TINY.replace(
        offline_steps=10, eval_episodes=1, checkpoint_every=5, eval_actors=("policy",)
    )
    train_seeds(config, (0, 3), out, progress=False)
    for seed in RunFolder(out).seeds():
        seed.checkpoints.drop_after(5)
    said: list[str] = []
    train_together(config, (0, 3), out, resume="auto", progress=False, announce=said.append)
    assert "resumed at update 5" in said


def test_seeds_without_a_common_step_are_told(both, out, data):
    shutil.copytree(both.path, out, symlinks=True)
    one, other = RunFolder(out).seeds()
    one.checkpoints.drop_after(10)
    shutil.rmtree(other.checkpoints.path(10))
    with pytest.raises(
        ConfigError, match=r"no intact .* in common \(seed_0: 10; seed_3: 20\); go on with each"
    ):
        together(out, data, resume="auto")
    (one.checkpoints.path(10) / "state.json").unlink()
    shutil.copytree(one.checkpoints.path(10), other.checkpoints.path(10))
    with (
        pytest.warns(UserWarning, match="trying a step before it"),
        pytest.raises(ConfigError, match="no intact checkpoint of one step in common"),
    ):
        together(out, data, resume="auto")


def test_other_seeds_are_another_run(both, out, data):
    shutil.copytree(both.path, out, symlinks=True)
    with pytest.raises(ConfigError, match=r"is a run of the seeds \[0, 3\], not \[0, 1\]; go on"):
        train_together(OFFLINE, (0, 1), out, dataset=data, resume="auto", progress=False)
    with pytest.raises(ConfigError, match="is a run of the seeds None, not"):
        train_seeds(OFFLINE, (0, 3), out / "seed_0", resume="auto", progress=False)
    with pytest.raises(ConfigError, match="is a run with batch_size 16, not 8; resume it with"):
        train_seeds(OFFLINE.replace(batch_size=8), (0, 3), out, resume="auto", progress=False)


@pytest.mark.timeout(300)
def test_seeds_in_processes_go_on_and_finished_ones_are_left_alone(out):
    config = TINY.replace(
        offline_steps=10, eval_episodes=1, checkpoint_every=5, eval_actors=("policy",)
    )
    folder = RunFolder.create(out, {**config.to_dict(), "seeds": [0, 3]})
    single = config.replace(threads=1)
    finished = train(single, out / "seed_0", progress=False)
    going_on = train(single.replace(seed=3), out / "seed_3", progress=False)
    weights = going_on.checkpoints.read().files["model.safetensors"]
    going_on.checkpoints.drop_after(5)
    before = {p: p.stat().st_mtime_ns for p in finished.path.rglob("*")}

    def again() -> list[str]:
        said: list[str] = []
        train_seeds(config, (0, 3), out, resume="auto", progress=False, announce=said.append)
        return said

    said = again()
    assert said[0] == f"{out / 'seed_0'} {FINISHED}"
    assert said[-1] == "resumed at update 5"
    assert {p: p.stat().st_mtime_ns for p in finished.path.rglob("*")} == before
    assert going_on.checkpoints.read().files["model.safetensors"] == weights
    assert folder.curve.is_file()
    assert again() == [f"{seed.path} {FINISHED}" for seed in folder.seeds()]


# --- the command ---------------------------------------------------------------------------------


def test_the_command_wants_to_know_where(capsys):
    assert main(["train", "fql", "--env", MAZE, "--resume", "auto"]) == 2
    assert "error: --resume auto needs --out, the folder to go on in" in capsys.readouterr().err
    assert main(["train", "fql", "--env", MAZE, "--out", "r", "--resume", "yes"]) == 2


def test_the_same_command_again_does_nothing_more(out, capsys):
    quick = "--hidden 8 --flow-steps 2 --offline-steps 2 --batch-size 4 --eval-episodes 1"
    options = f"{quick} --max-episode-steps 2 --no-tensorboard --resume auto --out {out}".split()
    for expected in ("policy: success 0 %", FINISHED):
        assert main(["train", "fql", "--env", MAZE, *options]) == 0
        assert expected in capsys.readouterr().out


def test_a_stop_of_several_seeds_is_gone_on_from(out, data):
    """All are saved at the step at which they stopped, and go on from it."""
    stops = iter([False] * 5 + [True] * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "flowpolicy.train.stop.StopRequest.raise_if_requested",
            lambda self: (_ for _ in ()).throw(Stopped(15)) if next(stops) else None,
        )
        with pytest.raises(Stopped):
            together(out, data)
    steps = [Checkpoints(seed.path / "checkpoints").steps() for seed in RunFolder(out).seeds()]
    assert steps[0] == steps[1] == [5]
    assert "resumed at update 5" in together(out, data, resume="auto")


def test_seeds_have_a_step_in_common_wherever_they_were_at_their_best(out, data, monkeypatch):
    """Killed in the third evaluation, where none was due but those of the best."""
    returns = iter([1.0, 0.0, 0.0, 2.0])  # seed 0 at 2 and at 4, seed 3 at 2 and at 4

    def evaluated(*_, **__):
        if (value := next(returns, None)) is None:
            raise KeyboardInterrupt
        return Evaluation((value,), (1,), None, 0.1)

    monkeypatch.setattr("flowpolicy.train.run.evaluate", evaluated)
    changes = {"eval_every": 2, "checkpoint_every": 0, "offline_steps": 8}
    with pytest.raises(KeyboardInterrupt):
        together(out, data, **changes)
    seeds = RunFolder(out).seeds()
    assert [seed.checkpoints.best for seed in seeds] == [2, 4]
    returns = iter([0.0] * 20)
    assert "resumed at update 4" in together(out, data, resume="auto", **changes)


@pytest.mark.filterwarnings("ignore:updates were skipped")
def test_what_the_healthy_seeds_have_learned_is_saved(out, data, monkeypatch):
    update = AgentStack.update

    def spoiled(stack, batch):
        if stack.agents[0].step >= 6:
            batch = batch.clone()
            batch["next", "reward"][1] = math.nan
        return update(stack, batch)

    monkeypatch.setattr(AgentStack, "update", spoiled)
    changes = {"max_skips": 2, "log_every": 1, "offline_steps": 20, "checkpoint_every": 5}
    with pytest.raises(DivergedError):
        together(out, data, eval_every=0, **changes)
    assert [seed.checkpoints.steps()[-1] for seed in RunFolder(out).seeds()] == [8, 8]


@pytest.mark.parametrize("several", [False, True])
def test_a_stop_while_a_run_is_loading_knows_of_its_checkpoints(out, data, monkeypatch, several):
    trainer = partial(train_together, OFFLINE, (0, 3)) if several else partial(train, OFFLINE)
    trainer(out, dataset=data, progress=False)
    folders = RunFolder(out).seeds() if several else [RunFolder(out)]
    for folder in folders:
        folder.checkpoints.drop_after(10)

    def stopped(*_):
        raise Stopped(15)

    place = "together" if several else "loop"
    monkeypatch.setattr(f"flowpolicy.train.{place}.prepare", stopped)
    with pytest.raises(Stopped) as caught:
        trainer(out, dataset=data, progress=False, resume="auto")
    assert caught.value.saved
    with pytest.raises(Stopped) as caught:
        trainer(out.with_name("new"), dataset=data, progress=False)
    assert not caught.value.saved


def test_the_curve_is_drawn_where_it_was_missed(out, data):
    together(out, data)
    RunFolder(out).curve.unlink()
    together(out, data, resume="auto")
    assert RunFolder(out).curve.is_file()


@pytest.mark.parametrize("trainer", [train_seeds, train_together])
def test_seeds_that_cannot_be_leave_no_folder(trainer, out):
    with pytest.raises(ConfigError, match="seed must be at least 0, got -1"):
        trainer(TINY, (-1, 0), out, progress=False)
    assert not out.exists()


def test_a_run_names_the_option_that_differs(out, data):
    train(OFFLINE, out, dataset=data, progress=False)
    other = OFFLINE.replace(options={**OFFLINE.options, "lr": 0.001})
    with pytest.raises(ConfigError, match=r"is a run with lr .*, not 0\.001; resume it"):
        train(other, out, dataset=data, resume=True, progress=False)
