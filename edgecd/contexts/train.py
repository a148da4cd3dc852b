"""`edgecd train --method mend` and its kin: from tasks and text to a distiller's run folder."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from edgecd.console import Reporter
from edgecd.contexts.config import DISTILLERS, MendConfig
from edgecd.contexts.episodes import TaskEpisodes, TextEpisodes, read_passages
from edgecd.contexts.language import is_encoder_decoder, load_frozen
from edgecd.contexts.loop import Stage, fit_network
from edgecd.contexts.loss import LossWeights
from edgecd.contexts.networks import make_network
from edgecd.errors import InputError
from edgecd.files import write_json
from edgecd.formats.record import from_json
from edgecd.formats.run import RUN, read_run
from edgecd.lm.models import (
    LanguageModel,
    load_fast_tokenizer,
    pick_device,
    pick_dtype,
)
from edgecd.lm.past import model_fingerprint
from edgecd.tasks.partition import Partition, load_partition
from edgecd.training.account import Account
from edgecd.training.folder import forget_lost_steps, open_log, open_run
from edgecd.training.record import DistillerRecord, FrozenModel, run_json
from edgecd.training.state import save_tensors, saved_step
from edgecd.training.student import add_adapter, load_trainable, trainable_state

DISTILLER = "distiller.safetensors"
MONITOR_EPISODES = 8
PRETRAINING, FINETUNING = "pretraining", "finetuning"


@dataclass(frozen=True)
class Trained:
    """A trained network with the frozen language model that it makes contexts for.

    `config` is what the training was asked; `model_fingerprint` is of the language model's weights.
    """

    lm: LanguageModel
    network: Any
    config: MendConfig
    model_fingerprint: str


def train_distiller(
    config: MendConfig, out: Path, reporter: Reporter, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train a distiller (or hypernetwork) into the run folder `out`; returns its run.json.

    Raises InputError for anything wrong with tasks, corpus, models or options, before the long
    work starts wherever that can be known.
    """
    began = time.monotonic()
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    check_same_tokens(config.student, config.distiller)
    partition = load_partition(
        Path(config.partition), config.split, Path(config.data) if config.data else None
    )
    passages = read_passages(config.corpus) if config.corpus and config.pretrain_steps else []
    with open_run(out, config, reporter, resume, force) as done:
        if done is not None:
            return done
        (out / "state").mkdir(exist_ok=True)
        account = Account(out / "state" / "account.json", device, began)
        lm = load_frozen(config.student, device, dtype)
        return _train(lm, config, partition, passages, out, reporter, account)


def _train(
    lm: LanguageModel,
    config: MendConfig,
    partition: Partition,
    passages: Sequence[str],
    out: Path,
    reporter: Reporter,
    account: Account,
) -> dict[str, Any]:
    """Train through the stages in the run folder `out`; returns its run.json."""
    device = lm.model.device
    network = build_network(config, lm, device)
    if config.start is not None:
        _start_from(Path(config.start), network, config, lm)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in lm.model.parameters())
    reporter.say(
        f"distiller: {trainable:,} parameters train, for {config.vectors} vectors of "
        f"{config.student} ({frozen:,} parameters, frozen)"
    )
    stages = make_stages(config, partition, passages, lm.text_tokenizer)
    _run_stages(network, lm, stages, config, out, reporter, account)
    save_tensors(trainable_state(network), out / DISTILLER)
    spent = {name: phase.seconds for name, phase in account.phases.items()}
    record = DistillerRecord(
        partition_name=partition.name,
        train_tasks=tuple(task.name for task in partition.train),
        test_tasks=tuple(task.name for task in partition.test),
        language_model=FrozenModel(lm.name, model_fingerprint(lm.model)),
        parameters=frozen,
        trainable_parameters=trainable,
        timings_s={**spent, "total": account.seconds},
        peaks=account.highest(),
    )
    run = run_json(config, record)
    write_json(out / RUN, run)
    shutil.rmtree(out / "state", ignore_errors=True)
    return run


def make_stages(
    config: MendConfig, partition: Partition, passages: Sequence[str], tokenizer: Any
) -> list[Stage]:
    """The stages of a training, in order (arXiv 2403.06914, 3.3).

    HyperTuning is the form without the divergence (4.2 there): in stage 1 it predicts the rest of a
    passage.
    """
    sizes = (config.max_context, config.max_query)

    def texts(seed: int) -> TextEpisodes:
        return TextEpisodes(passages, tokenizer, *sizes, seed)

    def tasks(seed: int) -> TaskEpisodes:
        many = (config.shots, config.queries)
        return TaskEpisodes(partition.train, tokenizer, *many, *sizes, seed, config.symbols)

    taught = 0.0 if config.method == "hypertuning" else config.divergence
    alone = LossWeights(0.0 if taught else 1.0, 1.0 if taught else 0.0, config.temperature)
    both = LossWeights(1.0, taught, config.temperature)
    plans: list[tuple[str, Callable[[int], Any], LossWeights, int, float]] = [
        (PRETRAINING, texts, alone, config.pretrain_steps, config.pretrain_lr),
        (FINETUNING, tasks, both, config.steps, config.lr),
    ]
    stages = []
    for name, episodes, weights, steps, lr in plans:
        if steps:
            other = episodes(config.seed + 1_000_003)  # what is watched is not what is learned
            monitor = [other(number) for number in range(MONITOR_EPISODES)]
            learned = episodes(config.seed)
            stages.append(Stage(name, learned, weights, steps, lr, config.batch_size, monitor))
    return stages


def _run_stages(
    network: Any,
    lm: LanguageModel,
    stages: Sequence[Stage],
    config: MendConfig,
    out: Path,
    reporter: Reporter,
    account: Account,
) -> None:
    """Train through the stages, or go on in the one that was stopped."""
    state = out / "state"
    saved = {stage.name: saved_step(state / stage.name) for stage in stages}
    forget_lost_steps(out, saved)
    device = lm.model.device.type
    autocast = device == "cuda" and lm.dtype == torch.bfloat16
    with open_log(out) as log:
        for place, stage in enumerate(stages):
            if any(saved[later.name] for later in stages[place + 1 :]):
                continue  # what it came to is in the later stage's state

            def progress(done: int, total: int, name: str = stage.name) -> None:
                account.tick()
                reporter.progress(name, done, total)

            with account.phase(stage.name):
                folder = state / stage.name
                fit_network(network, lm, stage, config.seed, autocast, folder, log, progress)


def load_distiller(
    run: Path, device: torch.device, dtype: torch.dtype, loaded: LanguageModel | None = None
) -> Trained:
    """A trained distiller with its frozen language model, which is `loaded` where that is the one.

    Raises InputError for a folder that holds none, or when the language model is not the one that
    it was trained for.
    """
    config, fingerprint = _read_distiller(run)
    if loaded is not None and loaded.name == config.student:
        lm = loaded
    else:
        lm = load_frozen(config.student, device, dtype)
    _check_weights(run, fingerprint, lm)
    network = build_network(config, lm, device)
    load_trainable(network, load_file(run / DISTILLER))
    return Trained(lm, network.eval(), config, fingerprint)


def _read_distiller(run: Path) -> tuple[MendConfig, str]:
    """What a distiller's training was asked, and the fingerprint of its language model."""
    made = read_run(run)
    if made.method not in DISTILLERS or not (run / DISTILLER).exists():
        raise InputError(
            f"{run} is not the run of a distiller: train one with edgecd train --method mend"
        )
    names = {field.name for field in dataclasses.fields(MendConfig)}
    config = MendConfig(**{key: value for key, value in made.values.items() if key in names})
    model = from_json(FrozenModel, made.values.get("language_model"), f"{made.path}")
    return config, model.fingerprint


def _check_weights(run: Path, fingerprint: str, lm: LanguageModel) -> None:
    if model_fingerprint(lm.model) != fingerprint:
        raise InputError(
            f"{run} was trained for other weights of {lm.name} than those here now: "
            "a distiller goes with its language model"
        )


def _start_from(run: Path, network: Any, config: MendConfig, lm: LanguageModel) -> None:
    """Copy a finished run's weights; InputError for one whose network is not the same."""
    earlier, fingerprint = _read_distiller(run)
    for name in ("method", "distiller", "adapter", "lora_rank", "vectors"):
        if getattr(earlier, name) != getattr(config, name):
            raise InputError(
                f"{run} was trained with {name} = {getattr(earlier, name)}, and this training has "
                f"{getattr(config, name)}: --start takes a run of the same network"
            )
    _check_weights(run, fingerprint, lm)
    load_trainable(network, load_file(run / DISTILLER))


def build_network(config: MendConfig, lm: LanguageModel, device: torch.device) -> Any:
    """The untrained network of a configuration; what trains requires gradients."""
    torch.manual_seed(config.seed)
    reader = load_frozen(config.distiller or config.student, device, torch.float32)
    body = reader.model.get_encoder() if is_encoder_decoder(reader) else reader.model.base_model
    if config.gradient_checkpointing:
        body.gradient_checkpointing_enable()
    if config.adapter == "lora":
        body.requires_grad_(False)
        body = add_adapter(body, "lora", config.lora_rank)
    else:
        body.requires_grad_(True)
    return make_network(config.method, lm, body, config.vectors, config.seed).to(device)


def check_same_tokens(model: str, distiller: str | None) -> None:
    """Raise InputError unless the two language models share their vocabulary."""
    if distiller is None or distiller == model:
        return
    one, other = (load_fast_tokenizer(name).get_vocab() for name in (model, distiller))
    if one != other:
        raise InputError(
            f"{distiller} and {model} have different vocabularies: a distiller starts from a "
            "relative of the frozen model that reads the same tokens"
        )
