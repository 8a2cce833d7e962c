"""A run goes on where it was, and only as the run that it was."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch

from flowpolicy.checkpoint import load_policy
from flowpolicy.checkpoint.agent_files import DATA
from flowpolicy.data import Dataset
from flowpolicy.errors import CheckpointError, ConfigError
from flowpolicy.evaluate import Evaluation
from flowpolicy.modules import OneStepActor
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import ONLINE_PROTOCOLS, train
from flowpolicy.train.best import best_step
from flowpolicy.train.interaction import Interaction
from flowpolicy.train.phases import OnlinePhase
from flowpolicy.train.records import CsvFile
from flowpolicy.train.run import Run
from tests.run.pole import POLE, SHORT, pole_data
from tests.run.test_online import interrupted, without_times

OFFLINE = SHORT.replace(online_steps=0, offline_steps=20, eval_every=0, eval_episodes=1)


pytestmark = pytest.mark.usefixtures("quick_curves")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data) -> RunFolder:
    """An undisturbed run; read-only."""
    return train(OFFLINE, tmp_path_factory.mktemp("whole") / "run", dataset=data, progress=False)


@pytest.fixture
def copy(whole, tmp_path) -> RunFolder:
    """A copy of it that may be changed, as left after its first checkpoint."""
    folder = RunFolder(tmp_path / "copy")
    shutil.copytree(whole.path, folder.path, symlinks=True)
    folder.checkpoints.drop_after(10)
    return folder


# --- the same data -------------------------------------------------------------------------------


def renamed(data: Dataset, **changes) -> Dataset:
    return Dataset.from_blocks(data.blocks, data.columns, dataclasses.replace(data.info, **changes))


def test_the_content_of_the_data_is_part_of_a_checkpoint(whole, data):
    told = json.loads(whole.checkpoints.read().files[DATA])
    assert told == whole.read_json("data.json")
    assert told["fingerprint"] == data.fingerprint()


def test_other_content_is_refused(copy, data):
    entries = data.entries()
    entries["observation"] = entries["observation"].clone()
    entries["observation"][7, 1] += 1e-6
    other = Dataset(entries, data.info)
    with pytest.raises(ConfigError, match=r"with fingerprint '\w+', these have '\w+'; resume it"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)
    (copy.path / "data.json").write_text("{}")  # the checkpoint knows it, too
    with pytest.raises(ConfigError, match=r"checkpoint .*step_00000010 was trained on .*fingerpr"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)


def test_another_meaning_is_refused(copy, data):
    other = renamed(data, success_timing="post")
    with pytest.raises(ConfigError, match="with success_timing None, these have 'post'; resume"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)


def test_the_same_content_from_elsewhere_goes_on(copy, whole, data):
    moved = renamed(data, name="moved", origin="file", files={"other.npz": "0"})
    elsewhere = OFFLINE.replace(data_root="elsewhere")
    train(elsewhere, copy.path, dataset=moved, resume=True, progress=False)
    ours, theirs = (f.checkpoints.read().files["model.safetensors"] for f in (copy, whole))
    assert ours == theirs


def test_a_run_of_before_fingerprints_goes_on(copy, data):
    record = copy.read_json("data.json")
    del record["fingerprint"]
    copy.write_json("data.json", record)
    moved = renamed(data, name="moved")
    with pytest.raises(ConfigError, match="with name 'pole', these have 'moved'"):
        train(OFFLINE, copy.path, dataset=moved, resume=True, progress=False)
    assert train(OFFLINE, copy.path, dataset=data, resume=True, progress=False)


def test_online_rows_and_counters_are_missed(data):
    """Another batch comes out without the rows, and another episode without the counters."""

    def phase() -> OnlinePhase:
        torch.manual_seed(0)
        actor = OneStepActor(data.obs_dim, data.act_dim, hidden=(8,))
        rows, steps = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
        protocol = ONLINE_PROTOCOLS["fql"]
        interaction = Interaction(POLE, actor, data, steps, seed=0)
        return OnlinePhase(protocol, interaction, protocol.experience(data, 40, rows))

    played = phase()
    for _ in range(40):
        played.advance()
    state = played.state()
    played.close()
    whole, without_rows, without_counters = phase(), phase(), phase()
    whole.load(state, "x")
    assert torch.equal(whole.batch(64)["action"], played.batch(64)["action"])
    assert whole.env_steps == 40
    counters = {name: value for name, value in state.items() if name.startswith("counters/")}
    without_rows.load(counters, "x")
    assert not torch.equal(without_rows.batch(64)["action"], played.batch(64)["action"])
    rows = {name: value for name, value in state.items() if name.startswith("rows/")}
    with pytest.raises(CheckpointError, match="x: the online counters lack 'episode'"):
        without_counters.load(rows, "x")


# --- the best ------------------------------------------------------------------------------------

SCORED = OFFLINE.replace(
    offline_steps=30, eval_every=5, checkpoint_every=10, keep_checkpoints=1, log_every=10
)


RETURNS = {5: 1.0, 10: 3.0, 15: 2.0, 20: 3.0, 25: 4.0, 30: 0.0}
"""What the evaluation after so many updates shall come to."""


@pytest.fixture
def scored(monkeypatch) -> None:
    def evaluate_here(run: Run) -> None:
        result = Evaluation((RETURNS[run.agent.step],), (1,), None, 0.1)
        monkeypatch.setattr("flowpolicy.train.run.evaluate", lambda *_, **__: result)
        evaluate(run)

    evaluate = Run.evaluate
    monkeypatch.setattr(Run, "evaluate", evaluate_here)


def kept(folder: RunFolder) -> tuple[list[int], int | None]:
    return folder.checkpoints.steps(), folder.checkpoints.best


def test_the_best_evaluation_has_a_checkpoint(scored, out, data):
    """Also where none was due, after 25 updates; of 10 and 20, equally good, the first stays."""
    seen = {}

    def noting(run: Run, metrics) -> None:
        end_turn(run, metrics)
        seen[run.agent.step] = kept(run.folder)

    end_turn = Run.end_turn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "end_turn", noting)
        folder = train(SCORED, out, dataset=data, progress=False)
    assert {step: seen[step] for step in RETURNS} == {
        5: ([5], 5),
        10: ([10], 10),
        15: ([10], 10),
        20: ([10, 20], 10),
        25: ([20, 25], 25),
        30: ([25, 30], 25),
    }
    best, last = load_policy(out, step="best"), load_policy(out)
    inputs = torch.ones(4), torch.ones(1)
    assert torch.equal(load_policy(out, step=25).act(*inputs), best.act(*inputs))
    assert not torch.equal(best.act(*inputs), last.act(*inputs))
    assert (folder.path / "checkpoints" / "best").readlink().name == "step_00000025"


def test_a_resumed_run_knows_the_best_again(scored, out, data):
    whole = train(SCORED, out, dataset=data, progress=False)
    for update in (4, 10, 17, 25):
        broken = interrupted(SCORED, out.with_name(f"broken{update}"), data, update)
        (broken.path / "checkpoints" / "best").unlink(missing_ok=True)  # killed before the mark
        train(SCORED, broken.path, dataset=data, resume=True, progress=False)
        assert kept(broken) == kept(whole)
        assert without_times(broken.evaluations) == without_times(whole.evaluations)


def test_where_the_best_is_lost_the_next_best_is_known(scored, out, data):
    folder = train(SCORED.replace(keep_checkpoints=9), out, dataset=data, progress=False)
    for step in (25, 30):
        shutil.rmtree(folder.checkpoints.path(step))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finished", True)  # only what comes before the first turn
        train(SCORED.replace(keep_checkpoints=9), out, dataset=data, resume=True, progress=False)
    assert kept(folder) == ([10, 20], 10)


def test_without_keep_best_there_is_none(scored, out, data):
    config = SCORED.replace(keep_best=False)
    folder = train(config, out, dataset=data, progress=False)
    assert kept(folder) == ([30], None)


def test_an_untrained_policy_is_not_kept(out, data):
    config = OFFLINE.replace(offline_steps=1, eval_at_start=True, checkpoint_every=0)
    assert kept(train(config, out, dataset=data, progress=False))[0] == [1]


def evaluated(path: Path, *rows: tuple[int, str, int | None, float]) -> RunFolder:
    """A run with evaluations of four episodes: step, actor, successes, return."""
    run = RunFolder.create(path, {})
    table = CsvFile(run.evaluations)
    for step, actor, successes, value in rows:
        row = {"step": step, "actor": actor, "successes": successes, "return": value}
        table.append({**row, "episodes": 4, "return_std": 0.0})
    return run


def test_success_comes_before_returns_and_what_is_no_number_last(tmp_path):
    run = evaluated(
        tmp_path / "success",
        (1, "policy", 2, 9.0),
        (2, "policy", 3, 1.0),
        (3, "flow", 4, 1.0),
        (4, "policy", 3, 2.0),
    )
    assert best_step(run, "policy", {1, 2, 3, 4}) == 2
    assert best_step(run, "policy", {1}) == 1
    assert best_step(run, "policy", {3}) is None
    assert best_step(run, "edit", {1}) is None
    returns = evaluated(
        tmp_path / "returns", (1, "policy", None, math.nan), (2, "policy", None, -5.0)
    )
    assert best_step(returns, "policy", {1, 2}) == 2
    assert best_step(evaluated(tmp_path / "none"), "policy", {1}) is None


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_any_table_is_the_first_with_the_highest_number(tmp_path, seed):
    draw = random.Random(seed)  # noqa: S311
    told = [None, *range(5)] if seed % 2 else [None]  # some say nothing where there is no success
    rows = [
        (step, actor, draw.choice(told), draw.choice([math.nan, -2.0, -1.0, 150.0]))
        for step in range(8)
        for actor in ("policy", "flow")
    ]
    tells = any(successes is not None for _, _, successes, _ in rows)
    wanted = set(draw.sample(range(8), 5))
    best, highest = None, -math.inf
    for step, actor, successes, value in rows:
        score = successes or 0 if tells else value
        score = -math.inf if math.isnan(score) else score
        if actor == "policy" and step in wanted and (best is None or score > highest):
            best, highest = step, score
    assert best_step(evaluated(tmp_path / "run", *rows), "policy", wanted) == best
