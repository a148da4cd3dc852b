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

from edgecd.contexts.config import PromptTuningConfig
from edgecd.contexts.episodes import query_ids
from edgecd.contexts.evaluate import accuracies, option_scores
from edgecd.contexts.language import Front, front_of_tokens, positions_of
from edgecd.contexts.matching import match_attention, why_not
from edgecd.contexts.meta_table import counted_accuracy, summarize, table
from edgecd.contexts.prompt_tuning import tune
from edgecd.contexts.train import DISTILLER, Trained, load_distiller
from edgecd.errors import InputError
from edgecd.files import (
    fingerprint,
    public,
    read_json,
    refuse_existing,
    sha256_file,
    write_json,
    write_text,
)
from edgecd.lm.models import LanguageModel, pick_device
from edgecd.lm.past import start_ids
from edgecd.tasks.encoding import demonstration_ids
from edgecd.tasks.partition import MetaTask, Pair, load_partition

SEEDS = (13, 21, 42, 87, 100)  # the paper's
CALIBRATION_INPUTS = 50
ROWS, RESULT, TABLE = "rows.jsonl", "meta-test.json", "table.md"
ZERO_SHOT, ICL, MATCHING, PROMPT_TUNING = "zero-shot", "icl", "matching", "prompt-tuning"


@dataclass(frozen=True)
class Draw:
    """One task with one seed: what is shown, what is asked, and unlabelled inputs."""

    task: MetaTask
    seed: int
    shots: tuple[Pair, ...]
    queries: tuple[Pair, ...]
    calibration: tuple[Pair, ...]


def meta_test(
    runs: Sequence[Path],
    out: Path,
    seeds: Sequence[int] = SEEDS,
    limit: int = 100,
    shots: Sequence[int] = (),
    prompt_steps: int = 100,
    matching: Sequence[int] = (),
    partition: Path | None = None,
    split: str | None = None,
    data: Path | None = None,
    device: str = "auto",
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Test distillers' contexts on their partition's test tasks; write OUT and return the result.

    Beside each run: zero-shot, all demonstrations in the context, the same in each number of
    positions in `matching` (default: the runs'; where `match_attention` can), and prompt tuning on
    the same demonstrations (`prompt_steps`; 0 leaves it out). Every system answers the same `limit`
    queries of a task after the same demonstrations, for each seed and number of `shots` (default:
    that of the training). Results are kept as they come, and the same command goes on where it
    stopped. Raises InputError for runs of different language models, and for an OUT of another test
    unless `force`.
    """
    if not runs:
        raise InputError("name at least one run of --method mend or hypertuning")
    place = pick_device(device)
    trained: list[Trained] = []
    for run in runs:
        loaded = trained[0].lm if trained else None
        trained.append(load_distiller(run, place, torch.float32, loaded))
    facts = trained[0].run
    if len({one.run["language_model"]["fingerprint"] for one in trained}) > 1:
        raise InputError("the runs are of different language models: test each on its own")
    lm = trained[0].lm
    names = [run.resolve().name for run in runs]
    taken = {name for name in names if name.startswith(f"{MATCHING}-")}
    if len(set(names)) < len(names) or taken or {ZERO_SHOT, ICL, PROMPT_TUNING} & set(names):
        raise InputError(f"two systems have one name among {', '.join(names)}: rename a run folder")
    shots = sorted(shots or [int(facts["shots"])])
    max_context, max_query = int(facts["max_context"]), int(facts["max_query"])
    chosen = load_partition(
        partition or Path(facts["partition"]),
        split or facts["split"],
        data or (Path(facts["data"]) if facts["data"] else None),
    )
    networks = {name: one.network for name, one in zip(names, trained, strict=True)}
    vectors = int(facts["vectors"])
    matching = sorted(matching or [vectors])
    unmatched = why_not(lm, max_context + max_query)
    if unmatched is not None:
        report(f"without {MATCHING}: {unmatched}")
        matching = []
    systems = _systems(lm, networks, matching, max_query)
    if prompt_steps:
        systems[PROMPT_TUNING] = lambda ids, draw: _tuned(
            lm, draw, vectors, prompt_steps, out, max_query
        )
    asked = {
        "partition": chosen.name,
        "tasks": [task.name for task in chosen.test],
        "language_model": {**facts["language_model"], "name": public(lm.name)},
        "seeds": list(seeds),
        "limit": limit,
        "shots": list(shots),
        "max_context": max_context,
        "prompt_steps": prompt_steps,
        "matching": list(matching),
        "runs": {name: sha256_file(run / DISTILLER) for name, run in zip(names, runs, strict=True)},
    }
    known = _open(out, fingerprint(asked), force)
    with (out / ROWS).open("a", encoding="utf-8") as lines:
        for draw in draws(chosen.test, seeds, shots, limit):
            texts = [pair.text for pair in draw.shots]
            ids = demonstration_ids(lm.text_tokenizer, texts, max_context)
            for name, front_of in systems.items():
                count = 0 if name == ZERO_SHOT else len(draw.shots)
                key = (name, draw.task.name, draw.seed, count)
                if key in known:
                    continue
                front = front_of(ids, draw)
                known[key] = {
                    "system": name,
                    "task": draw.task.name,
                    "family": draw.task.family,
                    "seed": draw.seed,
                    "shots": count,
                    "queries": len(draw.queries),
                    "positions": positions_of(front),
                    "demonstration_tokens": len(ids) if count else 0,
                    **_answers(lm, front, draw, max_query),
                }
                lines.write(json.dumps(known[key]) + "\n")
                lines.flush()
                accuracy = counted_accuracy(known[key])
                report(f"{draw.task.name}, seed {draw.seed}, {count} shots, {name}: {accuracy:.3f}")
    result = {
        "format": 1,
        **asked,
        **summarize(list(known.values()), ZERO_SHOT, ICL, PROMPT_TUNING),
    }
    write_json(out / RESULT, {"fingerprint": fingerprint(asked), **result})
    write_text(out / TABLE, table(result))
    if importlib.util.find_spec("matplotlib") is not None:
        from edgecd.contexts.meta_figures import write_figures

        write_figures(result, runs, out)
    return result


def _systems(
    lm: LanguageModel, networks: Mapping[str, Any], matching: Sequence[int], max_query: int
) -> dict[str, Callable[[Sequence[int], Draw], Front]]:
    """What makes the front of each system, of the demonstrations' tokens."""

    def distilled(network: Any) -> Callable[[Sequence[int], Draw], Front]:
        return lambda ids, draw: network.front(lm, ids)

    systems: dict[str, Callable[[Sequence[int], Draw], Front]] = {
        ZERO_SHOT: lambda ids, draw: front_of_tokens(lm, start_ids(lm)),
        ICL: lambda ids, draw: front_of_tokens(lm, ids),
    }

    def matched(positions: int, ids: Sequence[int], draw: Draw) -> Front:
        # Where a task has no more inputs, those of the demonstrations have to do.
        asked = [
            query_ids(lm.text_tokenizer, pair, max_query) for pair in draw.calibration or draw.shots
        ]
        queries = [one.ids[: len(one.ids) - one.answer_length] for one in asked]
        return match_attention(lm, ids, queries, positions)

    systems |= {f"{MATCHING}-{count}": partial(matched, count) for count in matching}
    return systems | {name: distilled(network) for name, network in networks.items()}


def draws(
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
def _answers(lm: LanguageModel, front: Front, draw: Draw, max_query: int) -> dict[str, Any]:
    asked = option_scores(lm, front, [*draw.queries, *draw.calibration], max_query)
    count = len(draw.queries)
    plain, calibrated = accuracies(asked[:count], draw.queries, asked[count:])
    return {"accuracy": plain, "accuracy_calibrated": calibrated}


def _tuned(
    lm: LanguageModel, draw: Draw, vectors: int, steps: int, out: Path, max_query: int
) -> Front:
    config = PromptTuningConfig(
        student=lm.name,
        vectors=vectors,
        shots=max(2, len(draw.shots)),
        steps=steps,
        max_length=max_query,
        seed=draw.seed,
    )
    name = f"{draw.task.name}-{draw.seed}-{len(draw.shots)}"
    folder = out / "prompts" / name.replace(":", "_")
    network = tune(lm, draw.shots, config, folder)
    with torch.no_grad():
        front: Front = network.front(lm, ())
    return front


def _open(out: Path, mark: str, force: bool) -> dict[tuple[str, str, int, int], dict[str, Any]]:
    """Rows that are there already; InputError when they answer another question."""
    path, stamp = out / ROWS, out / "asked.json"
    if force or not stamp.exists():
        refuse_existing(out, force)
        out.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        write_json(stamp, {"fingerprint": mark})
    elif read_json(stamp).get("fingerprint") != mark:
        raise InputError(
            f"{out} holds a test with other options or runs: choose another --out, or pass --force"
        )
    content = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith("\n")]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return {(row["system"], row["task"], row["seed"], row["shots"]): row for row in rows}
