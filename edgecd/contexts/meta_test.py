"""`edgecd meta-test`: contexts on tasks that nothing was trained on, against prompts (MEND, 4)."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgecd.contexts.config import MetaTestConfig, PromptTuningConfig
from edgecd.contexts.episodes import query_ids
from edgecd.contexts.evaluate import accuracies, option_scores
from edgecd.contexts.language import Front, front_of_tokens, positions_of
from edgecd.contexts.matching import match_attention, why_not
from edgecd.contexts.meta_record import (
    META_TEST_FORMAT,
    Asked,
    MetaRow,
    MetaTestResult,
    meta_test_json,
    read_meta_rows,
)
from edgecd.contexts.meta_table import meta_test_table, summarize
from edgecd.contexts.prompt_tuning import tune
from edgecd.contexts.train import DISTILLER, Trained, load_distiller
from edgecd.errors import InputError
from edgecd.files import public, read_json, sha256_file, write_json, write_text
from edgecd.formats.record import to_json
from edgecd.host.folders import claim
from edgecd.host.lock import locked
from edgecd.lm.models import LanguageModel, pick_device
from edgecd.lm.past import start_ids
from edgecd.tasks.encoding import demonstration_ids
from edgecd.tasks.partition import MetaTask, Partition, TextExample, load_partition
from edgecd.training.record import FrozenModel

CALIBRATION_INPUTS = 50
ROWS, RESULT, TABLE, ASKED = "rows.jsonl", "meta-test.json", "table.md", "asked.json"
# All that a meta-test writes into its folder.
HOLDS = (
    *(ROWS, RESULT, TABLE, ASKED, "prompts"),
    *("accuracy.png", "accuracy.svg", "learning.png", "learning.svg"),
)
ZERO_SHOT, ICL, MATCHING, PROMPT_TUNING = "zero-shot", "icl", "matching", "prompt-tuning"


@dataclass(frozen=True)
class Draw:
    """One task with one seed: what is shown, what is asked, and unlabelled inputs."""

    task: MetaTask
    seed: int
    demonstrations: tuple[TextExample, ...]
    queries: tuple[TextExample, ...]
    calibration: tuple[TextExample, ...]


FrontMaker = Callable[
    [Sequence[int], Draw], Front
]  # of the front of a draw, whose tokens are given


def meta_test(
    runs: Sequence[Path],
    out: Path,
    config: MetaTestConfig,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> MetaTestResult:
    """Test distillers' contexts on their partition's test tasks; write OUT and return the result.

    Beside each run: zero-shot, all demonstrations in the context, the same in each number of
    positions in `matching` (default: the runs'; where `match_attention` can), and prompt tuning on
    the same demonstrations (`prompt_steps`; 0 leaves it out). Every system answers the same `limit`
    queries of a task after the same demonstrations, for each seed and number of `shots` (default:
    that of the training). Results are kept as they come, and the same command goes on where it
    stopped. Raises InputError for runs of different language models, for an OUT that another
    process is at work on, and for an OUT of another test unless `force`.
    """
    if not runs:
        raise InputError("name at least one run of --method mend or hypertuning")
    names = [run.resolve().name for run in runs]
    trained = _load(runs, names, config.device)
    one, lm = trained[0].config, trained[0].lm
    data = config.data or one.data
    partition = load_partition(
        Path(config.partition or one.partition),
        config.split or one.split,
        Path(data) if data else None,
    )
    matching = tuple(sorted(config.matching or (one.vectors,)))
    unmatched = why_not(lm, one.max_context + one.max_query)
    if unmatched is not None:
        report(f"without {MATCHING}: {unmatched}")
        matching = ()
    networks = {name: each.network for name, each in zip(names, trained, strict=True)}
    systems = _systems(lm, networks, matching, one.max_query)
    if config.prompt_steps:
        tuning = (one.vectors, config.prompt_steps, one.max_query)
        systems[PROMPT_TUNING] = lambda ids, draw: _tuned(lm, draw, *tuning, out)
    asked = Asked(
        partition=partition.name,
        tasks=tuple(task.name for task in partition.test),
        language_model=FrozenModel(public(lm.name), trained[0].model_fingerprint),
        seeds=tuple(config.seeds),
        limit=config.limit,
        shots=tuple(sorted(config.shots or (one.shots,))),
        max_context=one.max_context,
        prompt_steps=config.prompt_steps,
        matching=matching,
        runs={name: sha256_file(run / DISTILLER) for name, run in zip(names, runs, strict=True)},
    )
    claim(out, HOLDS, force)
    with locked(out, "meta-test"):
        known = _open(out, asked.fingerprint, force)
        rows = _answer_all(lm, systems, partition, asked, one.max_query, known, out, report)
        found = summarize(rows, ZERO_SHOT, ICL, PROMPT_TUNING)
        result = MetaTestResult(META_TEST_FORMAT, asked, found)
        write_json(out / RESULT, meta_test_json(result))
        write_text(out / TABLE, meta_test_table(result))
        if importlib.util.find_spec("matplotlib") is not None:
            from edgecd.contexts.meta_figures import write_figures

            write_figures(result, runs, out)
    return result


def _load(runs: Sequence[Path], names: Sequence[str], device: str) -> list[Trained]:
    """The runs' networks around one language model; InputError where they do not go together."""
    trained: list[Trained] = []
    for run in runs:
        loaded = trained[0].lm if trained else None
        trained.append(load_distiller(run, pick_device(device), torch.float32, loaded))
    if len({one.model_fingerprint for one in trained}) > 1:
        raise InputError("the runs are of different language models: test each on its own")
    taken = {name for name in names if name.startswith(f"{MATCHING}-")}
    if len(set(names)) < len(names) or taken or {ZERO_SHOT, ICL, PROMPT_TUNING} & set(names):
        raise InputError(f"two systems have one name among {', '.join(names)}: rename a run folder")
    return trained


def _answer_all(
    lm: LanguageModel,
    systems: Mapping[str, FrontMaker],
    partition: Partition,
    asked: Asked,
    max_query: int,
    known: Sequence[MetaRow],
    out: Path,
    report: Callable[[str], None],
) -> list[MetaRow]:
    """The rows of every system for every draw: those known first, the others kept as they come."""
    rows = {row.key: row for row in known}
    with (out / ROWS).open("a", encoding="utf-8") as lines:
        for draw in draw_all(partition.test, asked.seeds, asked.shots, asked.limit):
            texts = [pair.text for pair in draw.demonstrations]
            ids = demonstration_ids(lm.text_tokenizer, texts, asked.max_context)
            for name, front_of in systems.items():
                count = 0 if name == ZERO_SHOT else len(draw.demonstrations)
                if (name, draw.task.name, draw.seed, count) in rows:
                    continue
                front = front_of(ids, draw)
                plain, calibrated = _accuracies(lm, front, draw, max_query)
                row = MetaRow(
                    system=name,
                    task=draw.task.name,
                    family=draw.task.family,
                    seed=draw.seed,
                    shots=count,
                    queries=len(draw.queries),
                    positions=positions_of(front),
                    demonstration_tokens=len(ids) if count else 0,
                    accuracy=plain,
                    accuracy_calibrated=calibrated,
                )
                rows[row.key] = row
                lines.write(json.dumps(to_json(row)) + "\n")
                lines.flush()
                report(f"{row.task}, seed {row.seed}, {count} shots, {name}: {row.counted:.3f}")
    return list(rows.values())


def _systems(
    lm: LanguageModel, networks: Mapping[str, Any], matching: Sequence[int], max_query: int
) -> dict[str, FrontMaker]:
    """What makes the front of each system, of the demonstrations' tokens."""

    def distilled(network: Any) -> FrontMaker:
        return lambda ids, draw: network.front(lm, ids)

    systems: dict[str, FrontMaker] = {
        ZERO_SHOT: lambda ids, draw: front_of_tokens(lm, start_ids(lm)),
        ICL: lambda ids, draw: front_of_tokens(lm, ids),
    }

    def matched(positions: int, ids: Sequence[int], draw: Draw) -> Front:
        # Where a task has no more inputs, those of the demonstrations have to do.
        asked = [
            query_ids(lm.text_tokenizer, pair, max_query)
            for pair in draw.calibration or draw.demonstrations
        ]
        queries = [one.ids[: len(one.ids) - one.answer_length] for one in asked]
        return match_attention(lm, ids, queries, positions)

    systems |= {f"{MATCHING}-{count}": partial(matched, count) for count in matching}
    return systems | {name: distilled(network) for name, network in networks.items()}


def draw_all(
    tasks: Sequence[MetaTask], seeds: Sequence[int], shots: Sequence[int], limit: int
) -> Iterator[Draw]:
    """Demonstrations and queries of each task for each seed; a seed at a time.

    Fewer shots are the first ones of more; queries are the same for all.
    """
    most = max(shots)
    for seed in seeds:
        for task in tasks:
            pool = task.pool(seed)
            chance = random.Random(f"edgecd meta-test {task.name} {seed}")
            order = list(pool.train)
            chance.shuffle(order)
            queries = tuple(chance.sample(pool.test, min(limit, len(pool.test))))
            unseen = tuple(order[most : most + CALIBRATION_INPUTS])
            for count in shots:
                yield Draw(task, seed, tuple(order[:count]), queries, unseen)


@torch.no_grad()
def _accuracies(
    lm: LanguageModel, front: Front, draw: Draw, max_query: int
) -> tuple[float, float | None]:
    """(accuracy, the same after label calibration or None) on the queries of a draw."""
    asked = option_scores(lm, front, [*draw.queries, *draw.calibration], max_query)
    count = len(draw.queries)
    return accuracies(asked[:count], draw.queries, asked[count:])


def _tuned(
    lm: LanguageModel, draw: Draw, vectors: int, steps: int, max_query: int, out: Path
) -> Front:
    """The front of prompt tuning on a draw's demonstrations, which is kept in OUT/prompts."""
    config = PromptTuningConfig(
        student=lm.name,
        vectors=vectors,
        shots=max(2, len(draw.demonstrations)),
        steps=steps,
        max_length=max_query,
        seed=draw.seed,
    )
    name = f"{draw.task.name}-{draw.seed}-{len(draw.demonstrations)}"
    folder = out / "prompts" / name.replace(":", "_")
    network = tune(lm, draw.demonstrations, config, folder)
    with torch.no_grad():
        front: Front = network.front(lm, ())
    return front


def _open(out: Path, mark: str, force: bool) -> list[MetaRow]:
    """Rows that are there already; InputError when they answer another question."""
    path, stamp = out / ROWS, out / ASKED
    if force or not stamp.exists():
        path.unlink(missing_ok=True)
        write_json(stamp, {"fingerprint": mark})
    elif read_json(stamp).get("fingerprint") != mark:
        raise InputError(
            f"{out} holds a test with other options or runs: choose another --out, or pass --force"
        )
    return read_meta_rows(path)
