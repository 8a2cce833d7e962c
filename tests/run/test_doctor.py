"""The doctor names what is wrong with a run or a machine, and is silent where nothing is."""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import flowpolicy as fp
from flowpolicy import doctor
from flowpolicy.agents import Agent
from flowpolicy.checkpoint.migrations import FORMAT_VERSION
from flowpolicy.cli import main
from flowpolicy.data import Dataset
from flowpolicy.doctor import Finding, actions, examine_machine, examine_run, learning, outcomes
from flowpolicy.doctor.examined import Examined, bounds
from flowpolicy.doctor.hardware import disk, gpus
from flowpolicy.doctor.rendering import failure
from flowpolicy.doctor.software import TESTED, compared, compiler
from flowpolicy.doctor.surroundings import variables
from flowpolicy.doctor.values import critics_tell_apart, rewards_differ, values_in_reach
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Evaluation
from flowpolicy.modules import Actor
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.records import evaluation_row
from flowpolicy.weights import Weight
from tests.data.conftest import transitions
from tests.run.conftest import TINY
from tests.run.test_checkpoint_directory import with_version
from tests.test_project import pins

ROWS = 64


def agent(name: str = "fql", **options) -> Agent:
    torch.manual_seed(0)
    return fp.agents.build(name, 2, 1, hidden=(16, 16), **options)


def examined(folder: Path, metrics: Iterable[dict[str, float]] = (), **parts) -> Examined:
    """A run of two thousand updates, by what the checks see of it."""
    rows = [{"step": 100.0 * (i + 1), **row} for i, row in enumerate(metrics)]
    rows = rows or [{"step": 2000.0}]
    return Examined(RunFolder(folder), TINY, rows, reach=(-100.0, 0.0), **parts)


def probed(folder: Path, of: Agent) -> Examined:
    entries = transitions([ROWS])
    entries["observation"] = torch.randn(ROWS, 2)
    entries["action"] = torch.rand(ROWS, 1) * 2 - 1
    batch = of.with_noise(Dataset(entries).take(torch.arange(ROWS)))
    return examined(folder, agent=of, rows=batch)


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def told(findings: Iterable[Finding]) -> str:
    (finding,) = [each for each in findings if each.level != "ok"]
    assert finding.advice
    return f"{finding.level}: {finding.told}"


@pytest.fixture
def run(finished_run: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished_run.path, tmp_path / "run", symlinks=True)
    return RunFolder(tmp_path / "run")


class TestHealthy:
    def test_a_finished_run(self, run):
        findings = examine_run(run)
        assert not [f for f in findings if f.level in ("warning", "error")]
        assert {"checkpoints", "skipped"} <= {finding.subject for finding in findings}
        assert "too few updates (20 of 1,000) for them to be asked" in {f.told for f in findings}

    def test_a_run_that_has_just_begun(self, run):
        run.forget_tables()
        shutil.rmtree(run.checkpoints.root)
        (run.path / "data.json").unlink()
        findings = examine_run(run)
        assert set(levels(findings)) == {"note"}
        assert "there is no row yet" in next(f.told for f in findings if f.subject == "metrics")

    def test_a_run_of_a_gpu(self, run):
        here = [finding.told for finding in examine_run(run)]
        config = {**run.config(), "device": "cuda", "precision": "tf32"}
        run.write_json("config.json", config)
        assert [finding.told for finding in examine_run(run)] == here

    def test_the_command_says_so(self, run, capsys):
        assert main(["doctor", str(run.path)]) == 0
        out = capsys.readouterr().out
        assert "ok       checkpoints: intact at update 10, 20" in out
        assert "\n0 error, 0 warning, " in out
        assert max(map(len, out.splitlines())) <= 100
        assert main(["doctor", str(run.path), "--quiet"]) == 0
        assert "checkpoints" not in capsys.readouterr().out

    @pytest.mark.parametrize("name", fp.agents.RECIPES)
    def test_every_method_can_be_asked(self, name, tmp_path):
        torch.manual_seed(0)
        small = {"hidden": (8,), "flow_steps": 2, "steps": 2}
        known = fp.agents.recipe_options(name)
        of = fp.agents.build(name, 2, 1, **{k: v for k, v in small.items() if k in known})
        run = probed(tmp_path, of)
        checks = set(doctor.CHECKS) - {
            outcomes.checkpoints_are_whole,
            outcomes.policy_beats_its_clone,
        }
        assert all(isinstance(f, Finding) for check in checks for f in check(run))

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_a_run_that_has_learned(self, tmp_path):
        config = TINY.replace(
            options={"hidden": (64, 64), "lr": 1e-3, "tau": 0.02, "alpha": 10.0},
            offline_steps=3000,
            n_step=10,
            batch_size=256,
            discount=0.995,
            eval_every=0,
            max_episode_steps=None,
            checkpoint_every=0,
            log_every=50,
        )
        folder = fp.train.train(config, tmp_path / "run", progress=False)
        findings = examine_run(folder)
        assert not [f for f in findings if f.level in ("warning", "error")]
        subjects = {f.subject for f in findings}
        assert {"critics", "qvalue", "distill", "noise", "saturation", "policy"} <= subjects


class TestValues:
    def rows(self, highest: Callable[[int], float], lowest: float = -50.0) -> list[dict]:
        return [{"qvalue_max": highest(i), "qvalue_min": lowest} for i in range(20)]

    def test_within_reach(self, tmp_path):
        assert levels(values_in_reach(examined(tmp_path, self.rows(lambda _: 3.0)))) == ["ok"]

    @pytest.mark.parametrize(
        ("highest", "message"),
        [
            (lambda _: 50.0, "warning: between -50 and 50 at update 2,000; .*they are too high$"),
            (lambda i: 1.5**i, "error: between -50 and .* too high and still run away"),
            (lambda _: math.inf, "error: between -50 and inf"),
        ],
    )
    def test_beyond(self, tmp_path, highest, message):
        assert re.match(message, told(values_in_reach(examined(tmp_path, self.rows(highest)))))

    @pytest.mark.parametrize("name", ["fql", "rebrac"])
    def test_below(self, tmp_path, name):
        run = examined(tmp_path, self.rows(lambda _: 0.0, lowest=-300.0), agent=agent(name))
        if name == "rebrac":  # whose penalty is no reward
            assert levels(values_in_reach(run)) == ["ok"]
            return
        (finding,) = values_in_reach(run)
        assert finding.level == "warning"
        assert re.search("between -300 and 0 at update 2,000; .*they are too low$", finding.told)
        assert "aggregation=min" not in finding.advice

    def test_both_sides(self, tmp_path):
        run = examined(tmp_path, self.rows(lambda _: 50.0, lowest=-300.0))
        sides = [f.told.partition("they are ")[2] for f in values_in_reach(run)]
        assert sides == ["too high", "too low"]

    def test_values_of_which_nothing_is_to_be_said(self, tmp_path):
        none = self.rows(lambda _: math.nan, lowest=math.nan)
        assert not list(values_in_reach(examined(tmp_path, none)))
        early = examined(tmp_path, self.rows(lambda _: 50.0)[:9])
        assert not list(values_in_reach(early))

    def test_reach_is_that_of_one_row_for_ever(self):
        entries = transitions([4], successes={1})
        entries["next", "reward"] = torch.tensor([[-1.0], [5.0], [-2.0], [0.0]])
        assert bounds(Dataset(entries), 0.9) == pytest.approx((-20.0, 5.0))
        assert bounds(Dataset(entries), 1.0) is None

    def test_rewards_that_are_all_alike(self, tmp_path):
        run = examined(tmp_path, agent=agent())
        assert not list(rewards_differ(run))
        alike = replace(run, reach=(0.0, 0.0))
        expected = "every row of the data promises the same return, 0"
        assert told(rewards_differ(alike)).startswith(f"warning: {expected}")
        online = replace(alike, config=TINY.replace(online_steps=1000))
        assert told(rewards_differ(online)).startswith(f"note: {expected}")
        assert not list(rewards_differ(replace(alike, agent=agent("flow_bc"))))

    @pytest.mark.parametrize("name", ["fql", "cgql"])
    def test_critics_that_have_collapsed(self, tmp_path, name):
        of = agent(name)
        with torch.no_grad():
            for parameter in of.networks["critic"].parameters():
                parameter.zero_()
        assert "they have collapsed" in told(critics_tell_apart(probed(tmp_path, of)))

    def test_critics_that_do_not_look_at_the_action(self, tmp_path):
        of = agent()
        with torch.no_grad():
            self.loud(of)
            of.networks["critic"].net[0].weight[:, -1:] = 0
        run = replace(probed(tmp_path, of), reach=(-1.0, 0.0))
        assert "they do not look at the action" in told(critics_tell_apart(run))

    def test_critics_that_do(self, tmp_path):
        of = agent()
        self.loud(of)
        run = replace(probed(tmp_path, of), reach=(-1.0, 0.0))
        assert levels(critics_tell_apart(run)) == ["ok"]

    def loud(self, of: Agent) -> None:
        with torch.no_grad():
            of.networks["critic"].net[-1].weight.mul_(10)


class TestActions:
    def shifted(self, by: float) -> Agent:
        of = agent()
        with torch.no_grad():
            of.networks["actor"].net[-1].bias.add_(by)
        return of

    def test_saturated(self, tmp_path):
        run = probed(tmp_path, self.shifted(9.0))
        assert "100% of the policy's action components beyond 0.99" in told(
            actions.not_saturated(run)
        )
        assert levels(actions.not_saturated(probed(tmp_path, agent()))) == ["ok"]

    def test_noise_that_is_ignored(self, tmp_path):
        of = agent()
        with torch.no_grad():
            for parameter in of.networks["actor"].parameters():
                parameter.zero_()
        findings = actions.noise_matters(probed(tmp_path, of))
        assert "actions of policy spread by 0 at one state, its clone's by" in told(findings)

    def test_a_clone_is_told_of_no_critics_and_no_clone(self, tmp_path):
        of = agent("bc")
        with torch.no_grad():
            of.networks["actor"].net.mean.bias.add_(9)
        run = probed(tmp_path, of)
        assert told(actions.not_saturated(run)).endswith("of the data's, which it clones")
        (finding,) = actions.noise_matters(run)
        assert (finding.level, finding.advice) == ("warning", "")

    def test_far_from_the_teacher(self, tmp_path):
        run = probed(tmp_path, self.shifted(3.0))
        assert "further than two draws of the teacher are apart" in told(
            actions.follows_its_teacher(run)
        )

    def test_near_the_teacher(self, tmp_path):
        student, teacher = Scaled(0.2), Scaled(0.21)
        of = Agent(student, [fp.DistillLoss(student, teacher)])
        findings = list(actions.follows_its_teacher(probed(tmp_path, of)))
        assert "it acts as its teacher does" in told(findings)
        assert levels(findings) == ["note"]


class Scaled(Actor):
    """A multiple of the noise."""

    def __init__(self, scale: float) -> None:
        super().__init__(2, 1, (1,))
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def raw(self, observation: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return self.scale * noise


class First(Weight):
    """Counts one row of all."""

    def compute(self, evaluated: EvaluatedBatch) -> torch.Tensor:
        weight = torch.zeros(*evaluated.batch_shape, 1)
        weight[0] = 1.0
        return weight


class TestLearning:
    def test_no_row(self, tmp_path):
        run = replace(examined(tmp_path), metrics=[])
        assert levels(learning.metrics_are_finite(run)) == ["note"]

    def test_numbers_that_are_none(self, tmp_path):
        run = examined(tmp_path, [{"loss_flow": 1.0}, {"loss_flow": math.nan}])
        assert told(learning.metrics_are_finite(run)).startswith(
            "error: loss_flow is not finite at update 200, the first of 1 such numbers"
        )
        assert not list(learning.metrics_are_finite(examined(tmp_path, [{"loss_flow": 1.0}])))

    @pytest.mark.parametrize(
        ("counts", "expected"),
        [([0, 0], ["ok"]), ([0, 3], ["warning"]), ([0, 90], ["error"])],
    )
    def test_skipped_updates(self, tmp_path, counts, expected):
        run = examined(tmp_path, [*[{}] * 18, *({"skipped": float(n)} for n in counts)])
        assert levels(learning.updates_count(run)) == expected
        assert not list(learning.updates_count(examined(tmp_path)))

    def test_updates_that_are_skipped_to_the_end(self, tmp_path):
        run = examined(tmp_path, [{}] * 18 + [{"skipped": 5.0, "skipped_in_a_row": 5.0}])
        assert "the last 5 among them, so that nothing is learned" in told(
            learning.updates_count(run)
        )

    def test_a_loss_that_stands_still(self, tmp_path):
        still = [{"loss_dpg": 1.0, "loss_flow": i / 7} for i in range(20)]
        assert "1 in every row of the second half of the run" in told(
            learning.losses_move(examined(tmp_path, still, agent=agent(scale=fp.unit_scale)))
        )

    def test_a_loss_of_its_own_scale_may_stand_still(self, tmp_path):
        still = [{"loss_dpg": 1.0, "loss_flow": i / 7} for i in range(20)]
        scaled = agent(scale=fp.inverse_mean_abs)
        assert not list(learning.losses_move(examined(tmp_path, still, agent=scaled)))

    @pytest.mark.parametrize(
        ("value", "expected"), [(1000.0, "warning"), (1e-4, "note"), (3.0, "ok")]
    )
    def test_a_coefficient(self, tmp_path, value, expected):
        of = agent()
        with torch.no_grad():
            of.networks["distill_coefficient"].log_value.fill_(math.log(value))
        assert levels(learning.coefficients_have_room(probed(tmp_path, of))) == [expected]

    @pytest.mark.parametrize(("action", "expected"), [(0.0, "ok"), (1.0, "warning")])
    def test_a_clone_on_new_rows(self, tmp_path, action, expected):
        of = agent()
        with torch.no_grad():  # the error of such a field is the square of what it should say
            for parameter in of.networks["field"].parameters():
                parameter.zero_()
        run = probed(tmp_path, of)
        old, new = run.rows.copy(), run.rows.copy()
        old["action"], new["action"] = torch.zeros(ROWS, 1), torch.full((ROWS, 1), action)
        run = replace(run, rows=old, unseen=new)
        assert levels(learning.clone_knows_new_rows(run)) == [expected]

    def test_weights_of_few_rows(self, tmp_path):
        field = fp.VelocityField(2, 1, hidden=(8,))
        of = Agent(fp.EulerSampler(field, 1), [fp.FlowMatchingLoss(field, weight=First())])
        assert "they amount to 2% of the rows; their mean is 0.0156" in told(
            learning.weights_leave_data(probed(tmp_path, of))
        )
        even = probed(tmp_path, agent("gfp", temperature=100.0))
        assert levels(learning.weights_leave_data(even)) == ["ok"]


class TestOutcomes:
    def evaluated(self, folder: Path, policy: int, flow: int, step: int = 5000) -> Examined:
        with (folder / "eval.csv").open("w", newline="") as file:
            empty = dict.fromkeys(evaluation_row(0, 0, "", Evaluation((0.0,), (1,), None, 0.0)), 0)
            table = csv.DictWriter(file, list(empty))
            table.writeheader()
            for actor, successes in (("policy", policy), ("flow", flow)):
                row = empty | {"step": step, "actor": actor}
                table.writerow(row | {"successes": successes, "episodes": 50})
        return examined(folder)

    @pytest.mark.parametrize(
        ("policy", "flow", "expected"),
        [(45, 10, ["ok"]), (10, 45, ["warning"]), (0, 0, ["ok", "note"]), (20, 25, ["ok"])],
    )
    def test_policy_against_clone(self, tmp_path, policy, flow, expected):
        (tmp_path / "config.json").write_text("{}")
        run = self.evaluated(tmp_path, policy, flow)
        assert levels(outcomes.policy_beats_its_clone(run)) == expected

    def test_damage(self, run, capsys):
        newest = run.checkpoints.path(20) / "model.safetensors"
        content = bytearray(newest.read_bytes())
        content[-1] ^= 1
        newest.write_bytes(content)
        (run.checkpoints.root / ".tmp-step_00000030-1-ab").mkdir()
        assert main(["doctor", str(run.path)]) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert "model.safetensors changed since it was written (SHA-256 differs)" in out
        assert "ok checkpoints: intact at update 10" in out
        assert "1 unfinished, as a process leaves that is killed" in out
        assert "1 error, 0 warning" in out

    def test_an_older_one_is_no_error(self, run):
        (run.checkpoints.path(10) / "state.json").unlink()
        assert doctor.worst(examine_run(run)) == "warning"

    def test_one_of_a_newer_format_is_not_to_be_removed(self, run):
        with_version(run.checkpoints.path(20), FORMAT_VERSION + 1)
        (bad,) = [f for f in examine_run(run) if f.level == "error"]
        assert bad.told.startswith("cannot be read by this flowpolicy: checkpoint ")
        assert bad.advice == "use the flowpolicy that wrote it"

    def test_one_that_the_run_drops_meanwhile_is_left_out(self, run):
        (run.checkpoints.path(10) / "state.json").unlink()
        findings = outcomes.checkpoints_are_whole(examined(run.path))
        assert "state.json cannot be read" in next(findings).told
        shutil.rmtree(run.checkpoints.path(20))
        assert not list(findings)

    def test_data_that_are_not_the_runs(self, run, tmp_path):
        other = Dataset({**transitions([30]), "action": torch.zeros(30, 2)})
        for options, message in (
            ({"dataset": other}, "the run was trained on data with env_id 'pointmaze-medium"),
            ({"data_root": tmp_path}, "pointmaze-medium-navigate-v0.npz is not in"),
        ):
            (note,) = [f for f in examine_run(run, **options) if f.subject == "data"]
            assert note.level == "note"
            assert message in note.told

    def test_another_table(self, run):
        run.metrics.write_text("step,rate\n1\n")
        (finding,) = [f for f in examine_run(run) if f.level == "warning"]
        assert "row 1 has not the 2 columns of the header" in finding.told

    def test_seeds_that_were_not_begun(self, run, tmp_path, capsys):
        several = RunFolder.create(tmp_path / "several", {**run.config(), "seeds": [0, 1]})
        assert main(["doctor", str(several.path)]) == 0
        out = capsys.readouterr().out
        assert out.count("note ") == 2 and "note     seed 0: has no folder in" in out
        shutil.copytree(run.path, several.path / "seed_0", symlinks=True)
        assert main(["doctor", str(several.path), "--quiet"]) == 0
        out = capsys.readouterr().out
        assert f"{several.path / 'seed_0'}:" in out
        assert "seed 1: has no folder in" in out and "seed 0: has" not in out
        with pytest.raises(ConfigError, match="examine each by itself: seed_0, seed_1"):
            examine_run(several)

    def test_no_run(self, tmp_path, capsys):
        with pytest.raises(ConfigError, match="cannot be read"):
            examine_run(RunFolder(tmp_path))
        assert main(["doctor", str(tmp_path)]) == 2
        assert "is not a run folder" in capsys.readouterr().err


class TestMachine:
    def test_this_one(self, capsys):
        findings = examine_machine()
        assert "error" not in levels(findings)
        subjects = {finding.subject for finding in findings}
        assert {"torch", "torchrl extension", "threads", "disk", "data", "drawing"} <= subjects
        assert "See warning above" not in "".join(finding.told for finding in findings)
        assert max(len(line) for finding in findings for line in finding.lines()) <= 100

    def test_the_tested_versions_are_the_pinned_ones(self):
        assert {name: pins()[name] for name in TESTED} == TESTED

    @pytest.mark.parametrize(
        ("name", "found", "level"),
        [
            ("torch", "2.13.0+cu130", "ok"),
            ("torch", "2.13.1", "note"),
            ("torch", "2.15.0", "warning"),
            ("numpy", "3.0.0", "note"),
        ],
    )
    def test_versions(self, name, found, level):
        assert compared(name, found, TESTED[name]).level == level

    @pytest.mark.parametrize(
        ("there", "named", "expected"),
        [
            (["g++", "clang++"], None, ("ok", "")),
            (["clang++"], None, ("note", "set CXX=clang++, which is here")),
            (["clang++"], "clang++", ("ok", "")),
            (["g++"], "icpc", ("warning", "set CXX=g++, which is here")),
            ([], None, ("note", "install g++, for instance apt-get install g++")),
        ],
    )
    def test_the_compiler_is_the_one_that_torch_calls(
        self, tmp_path, monkeypatch, there, named, expected
    ):
        for name in there:
            (tmp_path / name).touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.delenv("CXX", raising=False)
        if named:
            monkeypatch.setenv("CXX", named)
        (finding,) = compiler()
        assert (finding.level, finding.advice) == expected

    def test_a_gpu_that_others_have_is_told_beside_the_free_one(self, monkeypatch):
        def free(index: int) -> tuple[int, int]:
            if index == 0:
                raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be")
            return 8 * 10**9, 10 * 10**9

        for name, value in (
            ("is_available", lambda: True),
            ("device_count", lambda: 2),
            ("mem_get_info", free),
            ("get_device_name", lambda _: "a GPU"),
        ):
            monkeypatch.setattr(torch.cuda, name, value)
        busy, idle = gpus()
        assert (busy.level, busy.told) == (
            "warning",
            "cannot be used now: CUDA error: out of memory",
        )
        assert (idle.level, idle.told[:26]) == ("ok", "a GPU, 8 of 10 GB free, CU")

    def test_a_backend_that_is_none(self):
        assert "RuntimeError" in failure({"MUJOCO_GL": "crayons"})

    @pytest.mark.parametrize(
        ("environment", "level"),
        [
            ({}, []),
            ({"OMP_NUM_THREADS": "1"}, ["ok"]),
            ({"OMP_NUM_THREADS": "many"}, ["warning"]),
            ({"TORCHELASTIC_RUN_ID": "7"}, ["warning"]),
            (
                {"TORCHELASTIC_RUN_ID": "7", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
                ["ok"],
            ),
            ({"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}, ["warning"]),
        ],
    )
    def test_variables(self, environment, level):
        assert levels(variables(environment)) == level

    def test_a_folder_to_be(self, tmp_path):
        assert next(iter(disk(tmp_path / "to" / "be"))).level in ("ok", "warning")
