"""MEND and its baselines on tiny models: what is learned, by whom, and what a kill costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from transformers import DynamicCache

from edgecd.console import Reporter
from edgecd.contexts.config import MendConfig, PromptTuningConfig
from edgecd.contexts.episodes import TaskEpisodes, TextEpisodes, query_ids, read_passages
from edgecd.contexts.evaluate import accuracies, option_scores
from edgecd.contexts.language import (
    Continuation,
    front_of_tokens,
    front_of_vectors,
    next_token_logits,
)
from edgecd.contexts.loop import Stage, fit_network
from edgecd.contexts.loss import Episode, LossWeights, episode_loss
from edgecd.contexts.networks import make_network
from edgecd.contexts.prompt_tuning import train_prompt
from edgecd.contexts.train import DISTILLER, build_network, load_distiller, train_distiller
from edgecd.errors import InputError
from edgecd.lm.models import LanguageModel, load_language_model
from edgecd.tasks.partition import TextExample, load_partition
from tests import mend_world, tiny

CPU = torch.device("cpu")
QUIET = Reporter(lambda line: None, lambda what, done, total: None)
FAMILIES: tuple[tiny.Family, ...] = (*tiny.FUSED, "mistral")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mend_world.make_world(tmp_path_factory.mktemp("world"))


def language_model(world: Path) -> LanguageModel:
    return load_language_model(str(world / "model"), CPU, torch.float32)


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_front_is_what_the_model_would_have_read(family: tiny.Family, tmp_path: Path) -> None:
    world = mend_world.make_world(tmp_path, family)
    lm = language_model(world)
    before, queries = [5, 6, 7, 8, 9, 10, 11], [(12, 13, 14), (15, 16, 17, 18, 19)]
    continuations = [Continuation(ids, 1) for ids in queries]
    embed = lm.model.get_input_embeddings()
    vectors = embed(torch.tensor(before)).detach()
    fronts = [front_of_tokens(lm, before)]
    if family != "gemma3_text":  # which scales the embeddings of tokens, not those that it is given
        fronts.append(front_of_vectors(lm, vectors))
    for front in fronts:
        logits, targets, is_answer = next_token_logits(lm, front, continuations)
        assert targets.tolist() == [13, 14, 16, 17, 18, 19]
        assert is_answer.tolist() == [False, True, False, False, False, True]
        expected = []
        for ids in queries:
            whole = lm.model(input_ids=torch.tensor([[*before, *ids]])).logits[0]
            expected.append(whole[len(before) : -1])
        torch.testing.assert_close(logits, torch.cat(expected).detach(), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("method", ["mend", "hypertuning", "gist", "prompt-tuning"])
def test_only_the_network_gets_gradients(world: Path, method: str) -> None:
    lm = language_model(world)
    lm.model.requires_grad_(False)
    body = language_model(world).model.base_model
    network = make_network(method, lm, body, 4, seed=0)
    episode = Episode((5, 6, 7), (Continuation((8, 9, 10, 11), 1),))
    loss, _ = episode_loss(lm, network.front(lm, episode.context), episode, LossWeights(1.0, 1.0))
    loss.backward()
    assert all(weights.grad is None for weights in lm.model.parameters())
    moved = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    expected = {
        "mend": {"reader.placeholders", "reader.body.layers.0.mlp.up_proj.weight"},
        "hypertuning": {"base", "change.weight"},  # the rest when `change` is no longer zero
        "gist": {"reader.placeholders", "reader.body.layers.0.mlp.up_proj.weight"},
        "prompt-tuning": {"prompt"},
    }
    assert expected[method] <= moved


def test_the_divergence_is_that_of_the_models_own_distributions(world: Path) -> None:
    lm = language_model(world)
    context, query = (5, 6, 7, 8), Continuation((9, 10, 11, 12), 2)
    front = front_of_tokens(lm, (20, 21))
    _, terms = episode_loss(lm, front, Episode(context, (query,)), LossWeights(1.0, 1.0))

    def distributions(before: tuple[int, ...]) -> torch.Tensor:
        logits = lm.model(input_ids=torch.tensor([[*before, *query.ids]])).logits[0]
        return torch.log_softmax(logits[len(before) : -1], -1).detach()

    theirs, ours = distributions(context), distributions((20, 21))
    divergence = (theirs.exp() * (theirs - ours)).sum(-1).mean()
    entropy = -(ours[1, 11] + ours[2, 12]) / 2
    assert terms["divergence"] == pytest.approx(float(divergence), rel=1e-4)
    assert terms["cross_entropy"] == pytest.approx(float(entropy), rel=1e-4)


@pytest.mark.parametrize("method", ["mend", "hypertuning", "gist"])
def test_a_distiller_learns_what_is_in_a_context(world: Path, tmp_path: Path, method: str) -> None:
    lm = language_model(world)
    config = MendConfig(method=method, **mend_world.mend_options(world))
    network = build_network(config, lm, CPU)
    episode = Episode(tuple(range(20, 60)), (Continuation(tuple(range(60, 76)), 8),))
    weights = LossWeights(1.0, 0.0) if method == "hypertuning" else LossWeights(0.0, 1.0)
    stage = Stage("s", lambda number: episode, weights, 60, 3e-3, 1)
    losses: list[float] = []
    fit_network(
        network, lm, stage, 0, False, tmp_path, lambda line: losses.append(line["loss"]), _ignore
    )
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_killed_training_goes_on_to_the_same_losses(
    world: Path, tmp_path: Path, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecd.contexts.loop.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("edgecd.contexts.loop.SAVING_SHARE", 1e9)
    config = MendConfig(adapter=adapter, **mend_world.mend_options(world))
    train_distiller(config, tmp_path / "whole", QUIET)
    for stage, step in (("pretraining", 3), ("finetuning", 2)):
        with pytest.raises(KeyboardInterrupt):
            train_distiller(config, tmp_path / "killed", _dying(stage, step), resume=True)
    train_distiller(config, tmp_path / "killed", QUIET, resume=True)
    whole, killed = log_of(tmp_path / "whole"), log_of(tmp_path / "killed")
    assert [(line["stage"], line["step"]) for line in killed] == [
        (line["stage"], line["step"]) for line in whole
    ]
    for one, other in zip(whole, killed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    with pytest.raises(InputError, match="other options"):
        train_distiller(
            MendConfig(**mend_world.mend_options(world, vectors=5)),
            tmp_path / "killed",
            QUIET,
            resume=True,
        )


def test_stage_two_starts_from_another_run_as_after_its_own_stage_one(
    world: Path, tmp_path: Path
) -> None:
    def options(**changes: Any) -> MendConfig:
        made = mend_world.mend_options(world, adapter="lora", **changes)
        return MendConfig(method="gist", **made)

    train_distiller(options(), tmp_path / "both", QUIET)
    train_distiller(options(steps=0), tmp_path / "first", QUIET)
    start = str(tmp_path / "first")
    train_distiller(options(start=start, pretrain_steps=0), tmp_path / "second", QUIET)
    both, second = (load_file(tmp_path / name / DISTILLER) for name in ("both", "second"))
    assert both.keys() == second.keys()
    for name, weights in both.items():
        torch.testing.assert_close(weights, second[name])
    other = options(start=start, vectors=5)
    with pytest.raises(InputError, match="vectors = 4, and this training has 5"):
        train_distiller(other, tmp_path / "third", QUIET)


def test_a_gists_adapter_works_at_the_placeholders_alone(world: Path) -> None:
    lm = language_model(world)
    options = mend_world.mend_options(world, adapter="lora")
    network = build_network(MendConfig(method="gist", **options), lm, CPU)
    reader, ids = network.reader, [5, 6, 7, 8, 9]
    with torch.no_grad():
        for name, weights in reader.body.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.3)
        untouched = front_of_tokens(lm, ids)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(untouched):
            cache.update(keys, values, layer)
        reader.body(inputs_embeds=reader.placeholders[None], past_key_values=cache, use_cache=True)
        for (_, values), layer in zip(network.front(lm, ids), cache.layers, strict=True):
            torch.testing.assert_close(values[:, :, 1:], layer.values[:, :, len(ids) :])


def test_gradient_checkpointing_changes_memory_only(world: Path, tmp_path: Path) -> None:
    for name, checkpointing in (("with", True), ("without", False)):
        options = mend_world.mend_options(world, gradient_checkpointing=checkpointing)
        train_distiller(MendConfig(adapter="lora", **options), tmp_path / name, QUIET)
    one, other = log_of(tmp_path / "with"), log_of(tmp_path / "without")
    losses = [[line["loss"] for line in lines] for lines in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def _dying(stage: str, step: int) -> Reporter:
    def progress(what: str, done: int, total: int) -> None:
        if what == stage and done == step:
            raise KeyboardInterrupt

    return Reporter(lambda line: None, progress)


def _ignore(done: int, total: int) -> None:
    del done, total


def test_a_loaded_distiller_is_the_trained_one(world: Path, tmp_path: Path) -> None:
    config = MendConfig(adapter="lora", **mend_world.mend_options(world))
    train_distiller(config, tmp_path / "run", QUIET)
    trained = load_distiller(tmp_path / "run", CPU, torch.float32)
    untrained = build_network(config, trained.lm, CPU)
    with torch.no_grad():
        ids = (5, 6, 7, 8)
        made, made_again = trained.network.vectors(ids), trained.network.vectors(ids)
        assert torch.equal(made, made_again)
        assert (made - untrained.vectors(ids)).abs().max() > 1e-3
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["train_tasks"] == ["same", "words"] and run["test_tasks"] == ["size"]

    other = tiny.tiny_causal_lm("llama", len(tiny.tiny_tokenizer()), seed=5)
    run["student"] = str(tmp_path / "other")
    tiny.save_model(other, tiny.tiny_tokenizer(), tmp_path / "other")
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="other weights"):
        load_distiller(tmp_path / "run", CPU, torch.float32)


def test_a_distiller_may_be_narrower_than_the_model_that_it_writes_for(
    world: Path, tmp_path: Path
) -> None:
    tokenizer = tiny.tiny_tokenizer()
    small = tiny.tiny_causal_lm("llama", len(tokenizer), hidden_size=32, head_dim=16)
    tiny.save_model(small, tokenizer, tmp_path / "small")
    options = mend_world.mend_options(world, distiller=str(tmp_path / "small"), pretrain_steps=0)
    train_distiller(MendConfig(**options), tmp_path / "run", QUIET)
    trained = load_distiller(tmp_path / "run", CPU, torch.float32)
    assert trained.network.vectors((5, 6)).shape == (4, 64)


def test_a_distiller_that_reads_other_tokens_is_refused(world: Path, tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.add_tokens(["<more>"])
    model = tiny.tiny_causal_lm("llama", len(tokenizer))
    tiny.save_model(model, tokenizer, tmp_path / "other")
    options = mend_world.mend_options(world, distiller=str(tmp_path / "other"))
    with pytest.raises(InputError, match="different vocabularies"):
        train_distiller(MendConfig(**options), tmp_path / "run", QUIET)


def test_episodes_depend_on_seed_and_number_alone(world: Path) -> None:
    lm = language_model(world)
    partition = load_partition(world / "partition.toml", None, None)

    def tasks(seed: int) -> Callable[[int], Episode]:
        return TaskEpisodes(partition.train, lm.text_tokenizer, 4, 2, 200, 60, seed)

    assert tasks(0)(7) == tasks(0)(7) != tasks(0)(8)
    assert tasks(0)(7) != tasks(1)(7)
    assert all(len(tasks(0)(n).continuations) == 2 for n in range(4))
    passages = read_passages(str(world / "corpus.jsonl"))
    texts = TextEpisodes(passages, lm.text_tokenizer, 100, 40, 0)
    episode = texts(3)
    assert episode == TextEpisodes(passages, lm.text_tokenizer, 100, 40, 0)(3)
    tail = len(episode.continuations[0].ids)
    assert tail == pytest.approx(0.2 * (len(episode.context) + tail), abs=1)


def test_symbols_are_the_same_words_in_demonstrations_and_answers(world: Path) -> None:
    tokenizer = language_model(world).text_tokenizer
    train = load_partition(world / "partition.toml", None, None).train[:1]
    usual, renamed, some = (
        [TaskEpisodes(train, tokenizer, 4, 2, 200, 60, 0, symbols)(n) for n in range(20)]
        for symbols in (0.0, 1.0, 0.5)
    )
    seen = set()
    for episode in renamed:
        lines = tokenizer.decode(list(episode.context)).splitlines()
        shown = {line.removeprefix("Answer:") for line in lines if line.startswith("Answer:")}
        asked = {
            tokenizer.decode(list(one.ids[-one.answer_length :])) for one in episode.continuations
        }
        assert len(shown | asked) <= 2 and not (shown | asked) & {" True", " False"}
        seen |= shown
    assert len(seen) > 10
    same = [mixed == plain for mixed, plain in zip(some, usual, strict=True)]
    assert any(same) and not all(same)


def test_options_are_ranked_by_their_mean_log_likelihood_per_token(world: Path) -> None:
    lm = language_model(world)
    front = front_of_tokens(lm, (5, 6, 7))
    options = (" True", " not a word of its own", " old house")
    pairs = [TextExample(f"{tiny.sentence(n)}\nAnswer:", options[n % 3], options) for n in range(5)]
    found = option_scores(lm, front, pairs, 60)
    for pair, scores in zip(pairs, found, strict=True):
        for option, score in zip(options, scores, strict=True):
            one = query_ids(lm.text_tokenizer, TextExample(pair.prompt, option), 60)
            whole = lm.model(input_ids=torch.tensor([[5, 6, 7, *one.ids]])).logits[0]
            chances = torch.log_softmax(whole[:-1], -1)[-one.answer_length :]
            answer = torch.tensor(one.ids[-one.answer_length :])
            expected = chances[torch.arange(len(answer)), answer].mean()
            assert score == pytest.approx(float(expected.detach()), abs=1e-3)
    # words of one token are answered in one pass, to the same scores
    words = (" True", " False")
    short = [TextExample(pair.prompt, " True", words) for pair in pairs]
    fast = option_scores(lm, front, short, 60)
    assert [row[0] for row in fast] == pytest.approx([row[0] for row in found], abs=1e-3)


def test_the_evaluation_finds_nothing_where_there_is_nothing(world: Path) -> None:
    """Random labels, an untrained distiller: neither its contexts nor demonstrations help."""
    lm = language_model(world)
    config = MendConfig(**mend_world.mend_options(world))
    network = build_network(config, lm, CPU).eval()
    words = (" Yes", " No")
    chance = np.random.default_rng(0)
    pairs = [
        TextExample(f"{tiny.sentence(n)}\nAnswer:", words[chance.integers(2)], words)
        for n in range(240)
    ]
    with torch.no_grad():
        fronts = {
            "zero-shot": front_of_tokens(lm, (1,)),
            "demonstrations": front_of_tokens(lm, tuple(range(20, 80))),
            "untrained": network.front(lm, tuple(range(20, 80))),
        }
    for name, front in fronts.items():
        scores = option_scores(lm, front, pairs, 60)
        for accuracy in accuracies(scores[40:], pairs[40:], scores[:40]):
            assert accuracy is not None and abs(accuracy - 0.5) < 0.12, name  # 3.4 sd


def test_accuracies_against_a_calculation_by_hand() -> None:
    pairs = [
        TextExample("", "a", ("a", "b")),
        TextExample("", "b", ("a", "b")),
        TextExample("", "b", ("a", "b")),
    ]
    scores = [np.array([3.0, 0.0]), np.array([2.0, 1.5]), np.array([2.0, 0.0])]
    plain, calibrated = accuracies(scores, pairs, [np.array([1.0, 0.0])])
    assert plain == pytest.approx(1 / 3) and calibrated == pytest.approx(2 / 3)
    mixed = [*pairs[:2], TextExample("", "c", ("a", "c"))]
    assert accuracies(scores, mixed, scores)[1] is None  # no common order of options


def t5_world(folder: Path) -> Path:
    """The tiny world with an encoder-decoder."""
    from transformers import T5Config, T5ForConditionalGeneration

    world = mend_world.make_world(folder)
    tokenizer = tiny.tiny_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    tiny.save_model(T5ForConditionalGeneration(config).eval(), tokenizer, world / "model")
    return world


def test_an_encoder_decoder_is_taught_in_front_of_its_encoder(tmp_path: Path) -> None:
    world = t5_world(tmp_path)
    config = MendConfig(**mend_world.mend_options(world))
    run = train_distiller(config, tmp_path / "run", QUIET)
    assert run["status"] == "done"
    trained = load_distiller(tmp_path / "run", CPU, torch.float32)
    lm, network = trained.lm, trained.network
    assert all(not weights.requires_grad for weights in lm.model.parameters())

    # the front of tokens is the same as having read them
    context, query = (5, 6, 7), Continuation((8, 9, 10, 11, 12), 2)
    logits, targets, _ = next_token_logits(lm, front_of_tokens(lm, context), [query, query])
    whole = lm.model(
        input_ids=torch.tensor([[5, 6, 7, 8, 9, 10, 1]]), labels=torch.tensor([[11, 12]])
    ).logits[0]
    torch.testing.assert_close(logits, torch.cat([whole, whole]), atol=1e-4, rtol=1e-3)
    assert targets.tolist() == [11, 12, 11, 12]

    options = (" True", " not a word")
    pairs = [TextExample(tiny.sentence(n), options[0], options) for n in range(3)]
    with torch.no_grad():
        scores = option_scores(lm, network.front(lm, context), pairs, 40)
    assert all(np.isfinite(row).all() and row[0] != row[1] for row in scores)
    with pytest.raises(InputError, match="has an encoder"):
        train_distiller(
            MendConfig(method="hypertuning", **mend_world.mend_options(world)),
            tmp_path / "hyper",
            QUIET,
        )


def test_prompt_tuning_fits_its_demonstrations_and_leaves_a_context(
    world: Path, tmp_path: Path
) -> None:
    for split in ("train", "validation"):
        rows = [{**row["fields"], "label": row["label"]} for row in tiny.examples(40, seed=6)]
        tiny.write_jsonl(tmp_path / f"{split}.jsonl", rows)
    (tmp_path / "task.toml").write_text(tiny.TASK, encoding="utf-8")
    config = PromptTuningConfig(
        task=str(tmp_path / "task.toml"),
        student=str(world / "model"),
        vectors=4,
        shots=8,
        steps=60,
        lr=3e-2,
        max_length=64,
    )
    train_prompt(config, tmp_path / "run", QUIET)
    losses = [line["loss"] for line in log_of(tmp_path / "run")]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    from edgecd.formats.context import read_context

    context = read_context(tmp_path / "run" / "context.safetensors")
    assert context.positions == 4 and context.facts.method == "prompt-tuning"
    assert len(context.facts.calibration) == 2
