"""Where the time of FQL's update goes: ``python -m benchmarks.profile_update --compiled``.

Events of ``torch.profiler`` by kind, of each event the least over many updates: its clock goes on
while another process has the core. Profiling slows an update down, its short operations most; the
last line is CPU time without. ``--seeds 8`` puts eight agents as one program beside one agent.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

import flowpolicy as fp
from benchmarks.clock import Turns
from benchmarks.problem import SIZES, agent_of, random_batch

WHOLE = {  # what runs within them is of their kind, too
    "matrix products": r"aten::(addmm|mm|bmm|baddbmm)$",
    "optimizer": r"Optimizer\.step",
    "targets": r"aten::_foreach_lerp_$",
    "noise": r"aten::(randn|rand)$",
}
KINDS = {
    **WHOLE,
    "pointwise, reductions": r"graph_\d+_cpp|aten::",
    "calling them": r"## Call CompiledFxGraph",
    "entering the compiled program": r"Torch-Compiled|TorchDynamo|AOTDispatcher|Pregraph",
    "Python": r"",
}
Update = Callable[[], object]


def updates(hidden: tuple[int, ...], seeds: int, *, compiled: bool) -> Iterator[tuple[int, Update]]:
    """How many agents an update is of, and the update: of one and, where asked, of several."""
    for count in sorted({1, seeds}):
        agents = [agent_of("fql", hidden, seed=seed) for seed in range(count)]
        batches = [random_batch() for _ in agents]
        learner = agents[0] if count == 1 else fp.AgentStack(agents)
        batch = batches[0] if count == 1 else torch.stack(batches)
        if compiled:
            learner.compile(options={"cpp.enable_kernel_profile": True})  # each kernel is an event
        learner.update(batch)
        yield count, lambda learner=learner, batch=batch: learner.update(batch)


def profiled(forms: Mapping[int, Update], turns: int) -> dict[int, Counter[str]]:
    """Microseconds of an update by kind."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(turns):
            for count, update in forms.items():
                for _ in range(3):
                    with record_function(f"update of {count}"):
                        update()
    events = profiler.events()
    return {
        count: least([event for event in events if event.name == f"update of {count}"])
        for count in forms
    }


def least(events: Sequence[FunctionEvent]) -> Counter[str]:
    """The microseconds by kind of what repeats itself, the least of each part."""
    spent: Counter[str] = Counter()
    for repeated in zip(*(parts(event) for event in events), strict=True):
        spent[repeated[0][0]] += min(microseconds for _, microseconds in repeated)
    return spent


def parts(event: FunctionEvent, outer: str = "") -> Iterator[tuple[str, float]]:
    """Kind and own time of an event and of all within it."""
    kind = outer
    if outer not in WHOLE:
        kind = next(kind for kind, pattern in KINDS.items() if re.match(pattern, event.name))
    yield kind, event.self_cpu_time_total
    for inner in event.cpu_children:
        yield from parts(inner, kind)


def table(spent: Mapping[int, Counter[str]], plain: Mapping[int, float]) -> Iterator[str]:
    """What an update costs for each of its agents, and the shares."""
    names = ("one agent" if count == 1 else f"{count} as one, each" for count in spent)
    yield "| microseconds | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(spent)
    for kind in KINDS:
        cells = (
            f"{each[kind] / count:.0f} ({each[kind] / each.total():.0%})"
            for count, each in spent.items()
        )
        yield f"| {kind} | " + " | ".join(cells) + " |"
    yield "| all | " + " | ".join(f"{each.total() / n:.0f}" for n, each in spent.items()) + " |"
    yield "| not profiled | " + " | ".join(f"{plain[n] / n:.0f}" for n in spent) + " |"


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_update")
    parser.add_argument("--size", choices=list(SIZES), default="64x2")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--seeds", type=int, default=1, help="as one program, beside one alone")
    parser.add_argument("--quick", action="store_true", help="tiny networks, few updates")
    args = parser.parse_args()
    torch.set_num_threads(1)

    hidden, turns = ((8, 8), 2) if args.quick else (SIZES[args.size], 50)
    forms = dict(updates(hidden, args.seeds, compiled=args.compiled))
    unprofiled = Turns(forms, turn_seconds=0.0)
    for _ in range(3 * turns):
        unprofiled.take()
    plain = {count: 1e6 * min(seconds) for count, seconds in unprofiled.values.items()}
    print("\n".join(table(profiled(forms, turns), plain)))


if __name__ == "__main__":
    main()
