"""Graphs of encoders answer as the PyTorch model does, whatever the batch and the padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
import transformers

from edgecd.errors import InputError
from edgecd.export.activations import linears, measure_activations
from edgecd.export.encoder_graph import write_encoder_graph
from edgecd.export.encoder_precondition import smooth_encoder
from edgecd.export.encoder_stack import ENCODER_FAMILIES, read_encoder
from edgecd.export.precondition import spread
from edgecd.export.quantize import int8_treatments, quantize, rounder
from edgecd.export.torch_graph import traced_graph
from tests.tiny import (
    REAL_MODELS,
    graph_logits,
    open_graph,
    padded_batch,
    relative_error,
    tiny_classifier,
    torch_logits,
)
from tests.tiny_encoders import (
    ENCODERS,
    LABELS,
    TRACED_ENCODERS,
    fitted_encoder,
    has_segments,
    majority_third,
    segmented,
    tiny_encoder,
)

VOCABULARY = 90
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert-one-layer": ("bert", {"num_hidden_layers": 1}),
    "bert-one-head": ("bert", {"num_attention_heads": 1}),
    "bert-one-label": ("bert", {"num_labels": 1}),
    "bert-one-segment": ("bert", {"type_vocab_size": 1}),
    "bert-three-segments": ("bert", {"type_vocab_size": 3}),
    "bert-tanh-gelu": ("bert", {"hidden_act": "gelu_new"}),
    "bert-large-epsilon": ("bert", {"layer_norm_eps": 0.1}),
    "distilbert-relu": ("distilbert", {"activation": "relu"}),
    "distilbert-sinusoidal": ("distilbert", {"sinusoidal_pos_embds": True}),
    "roberta-other-padding": ("roberta", {"pad_token_id": 1}),
    "roberta-two-segments": ("roberta", {"type_vocab_size": 2}),
}


def positions_of(model: Any) -> int:
    """The longest text that a model can take."""
    counted = model.config.model_type in ("roberta", "xlm-roberta", "camembert")
    offset = model.config.pad_token_id + 1 if counted else 0
    return int(model.config.max_position_embeddings) - offset


def batch_for(model: Any, rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random texts, padded as the model's configuration says."""
    batch = padded_batch(rows, length, VOCABULARY, seed=seed)
    ids = np.where(batch["attention_mask"] == 1, batch["input_ids"], model.config.pad_token_id)
    return segmented(model, {**batch, "input_ids": ids})


def assert_same_answers(
    graph: onnx.ModelProto,
    model: Any,
    rows: tuple[int, ...] = (1, 3, 8),
    lengths: tuple[int, ...] = (1, 2, 7, 40),
    tolerance: float = 1e-4,
) -> None:
    session = open_graph(graph)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if has_segments(model) else [])]
    assert [(x.name, x.type) for x in session.get_inputs()] == [
        (name, "tensor(int64)") for name in names
    ]
    (output,) = session.get_outputs()
    assert (output.name, output.type) == ("logits", "tensor(float)")
    assert output.shape == ["batch", model.config.num_labels]
    expected = np.zeros((0, LABELS), np.float32)
    for count in rows:
        for length in lengths:
            batch = batch_for(model, count, length)
            expected = torch_logits(model, batch)
            found = session.run(None, batch)[0]
            np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert np.ptp(expected) > 0.1, "logits that hardly differ prove nothing"


@pytest.mark.parametrize("family", ENCODERS)
def test_fused_graph_answers_as_pytorch(family: Any) -> None:
    model = tiny_encoder(family, VOCABULARY)
    lengths = (1, 2, 7, 128, positions_of(model))
    assert_same_answers(write_encoder_graph(read_encoder(model)), model, lengths=lengths)


@pytest.mark.parametrize("family", TRACED_ENCODERS)
def test_traced_graph_answers_as_pytorch(family: Any) -> None:
    model = tiny_encoder(family, VOCABULARY)
    assert_same_answers(traced_graph(model), model, lengths=(1, 2, 7, 40, 128))


def test_a_traced_graph_quantizes_each_layer_of_the_model_once_and_not_its_head() -> None:
    model = tiny_encoder("deberta-v2", VOCABULARY)  # its positions go through q and k, too
    found = [layer.name for layer in linears(onnx_ir.from_proto(traced_graph(model)).graph)]
    expected = [
        f"model.{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "classifier"
    ]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_a_family_answer_as_pytorch(variant: str) -> None:
    family, changes = VARIANTS[variant]
    model = tiny_encoder(family, VOCABULARY, **changes)
    assert_same_answers(write_encoder_graph(read_encoder(model)), model, rows=(3,))


@pytest.mark.parametrize("family", ENCODERS)
def test_an_answer_does_not_depend_on_padding_or_neighbours(family: Any) -> None:
    model = tiny_encoder(family, VOCABULARY)
    graph = write_encoder_graph(read_encoder(model))
    batch = batch_for(model, 6, 40)
    together = graph_logits(graph, batch)
    for row, length in enumerate(batch["attention_mask"].sum(axis=1)):
        alone = {name: values[row : row + 1, :length] for name, values in batch.items()}
        np.testing.assert_allclose(graph_logits(graph, alone)[0], together[row], atol=1e-5)


def test_segments_and_positions_make_a_difference() -> None:
    model = tiny_encoder("bert", VOCABULARY)
    graph = write_encoder_graph(read_encoder(model))
    batch = batch_for(model, 3, 20)
    expected = graph_logits(graph, batch)
    for name, other in (
        ("token_type_ids", 1 - batch["token_type_ids"]),
        ("input_ids", np.roll(batch["input_ids"], 1, axis=1)),
    ):
        apart = np.abs(graph_logits(graph, {**batch, name: other}) - expected)
        assert apart.max() > 1e-2, f"{name} make no difference to this model"


def test_the_last_layer_has_one_query() -> None:
    graph = write_encoder_graph(read_encoder(tiny_encoder("bert", VOCABULARY))).graph
    weights = [x.name for x in graph.initializer if x.name.endswith("_proj.weight")]
    projections = ("o_proj", "up_proj", "down_proj")
    assert sorted(weights) == sorted(
        f"layers.{number}.{name}.weight"
        for number, names in enumerate((("qkv_proj",), ("kv_proj", "q_proj")))
        for name in (*names, *projections)
    )
    sizes = {tensor.name: tensor.dims for tensor in graph.initializer}
    assert list(sizes["layers.0.qkv_proj.weight"]) == [64, 192]
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Attention") == 2


def test_logits_are_those_of_a_pipeline() -> None:
    model = tiny_encoder("bert", VOCABULARY)
    tokenizer = word_tokenizer()
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    session = open_graph(write_encoder_graph(read_encoder(model)))
    pair = {"text": "w1 w2 w3", "text_pair": "w9 w4"}
    for given in ("w7 w3 w80 w2 w2", pair):
        texts = (given,) if isinstance(given, str) else tuple(given.values())
        encoded = tokenizer(*texts)
        feed = {name: np.array([ids], np.int64) for name, ids in encoded.items()}
        found = session.run(None, feed)[0][0]
        said = pipeline(given, function_to_apply="none", top_k=None)
        scores = {one["label"]: one["score"] for one in said}
        expected = [scores[model.config.id2label[label]] for label in range(LABELS)]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 1 in feed["token_type_ids"]


def word_tokenizer() -> Any:
    """BERT's way to put texts together, over words w5, w6, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(4, VOCABULARY))]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def test_a_half_precision_checkpoint_becomes_an_fp32_graph() -> None:
    model = tiny_encoder("bert", VOCABULARY).bfloat16()
    graph = write_encoder_graph(read_encoder(model))
    assert_same_answers(graph, model.float(), rows=(3,))


@pytest.mark.parametrize("family", ENCODERS)
def test_rewritten_weights_give_the_same_logits(family: Any) -> None:
    model = tiny_encoder(family, VOCABULARY)
    stack = read_encoder(model)
    smoothed = smooth_encoder(stack, measured(stack, model))
    again = smooth_encoder(smoothed, measured(smoothed, model))
    assert not np.allclose(smoothed.pooler.weight, stack.pooler.weight), "nothing was rewritten"
    for rewritten in (smoothed, spread(stack), spread(smoothed), again):
        assert_same_answers(write_encoder_graph(rewritten), model, rows=(3,))


def test_smoothing_evens_out_what_norms_give() -> None:
    model: Any = tiny_encoder("bert", VOCABULARY)
    with torch.no_grad():
        for norm in (model.bert.embeddings.LayerNorm, *layer_norms(model)):
            norm.weight[7:9] *= 100
    stack = read_encoder(model)
    smoothed = smooth_encoder(stack, measured(stack, model))
    assert_same_answers(write_encoder_graph(smoothed), model, rows=(3,), tolerance=1e-3)
    before, after = (measured(one, model) for one in (stack, smoothed))
    for name in ("layers.0.qkv_proj", "layers.0.up_proj", "layers.1.kv_proj", "pooler"):
        wide, even = (
            seen[f"{name}.weight"].rms.max() / np.median(seen[f"{name}.weight"].rms)
            for seen in (before, after)
        )
        assert wide > 30 and even < wide / 5, (name, wide, even)


def layer_norms(model: Any) -> list[Any]:
    """The norms of all layers."""
    return [
        norm
        for layer in model.bert.encoder.layer
        for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm)
    ]


def measured(stack: Any, model: Any, grams: bool = False) -> Any:
    """Statistics of a stack's own graph."""
    feeds = [batch_for(model, 8, 24, seed=seed) for seed in (1, 2, 3, 4)]
    return measure_activations(write_encoder_graph(stack), feeds, grams=grams, threads=1)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_int8_keeps_the_labels_of_a_fitted_model(family: Any) -> None:
    model = fitted_encoder(family, VOCABULARY)
    texts = [batch_for(model, 1, length, seed) for seed in range(12) for length in range(6, 25, 2)]
    expected = np.vstack([torch_logits(model, text) for text in texts])
    gold = np.hstack([majority_third(text, VOCABULARY) for text in texts])
    assert (expected.argmax(axis=1) == gold).mean() > 0.7, "it learned nothing"
    plain = read_encoder(model)
    stack = spread(smooth_encoder(plain, measured(plain, model)))
    statistics = measured(stack, model, grams=True)
    graph, round_linear = write_encoder_graph(stack), rounder(statistics)
    highest = np.sort(expected, axis=1)
    clear = highest[:, -1] - highest[:, -2] > 0.25  # of logits that are 5 apart
    assert clear.mean() > 0.9
    errors = []
    for treatment in int8_treatments(statistics):
        session = open_graph(quantize(graph, treatment, round_linear))
        found = np.vstack([session.run(None, text)[0] for text in texts])
        flips = found.argmax(axis=1) != expected.argmax(axis=1)
        assert not flips[clear].any(), treatment.name
        errors.append(relative_error(found, expected))
    assert max(errors) < 0.02, errors


def test_int8_leaves_no_weight_but_the_head_in_fp32() -> None:
    stack = spread(read_encoder(tiny_encoder("bert", VOCABULARY)))
    graph = quantize(write_encoder_graph(stack), int8_treatments({})[0])
    matrices = {
        tensor.name
        for tensor in graph.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    }
    assert {name for name in matrices if not name.endswith(".scale")} == {
        "score.weight",
        "block_64.rotation",
    }


def test_what_it_cannot_take_is_refused_by_the_architectures_name() -> None:
    assert frozenset(ENCODERS) == ENCODER_FAMILIES
    decoder = tiny_classifier("llama", VOCABULARY)
    with pytest.raises(InputError, match=r"LlamaForSequenceClassification.*--exporter torch"):
        read_encoder(decoder)
    with pytest.raises(InputError, match=r"BertForSequenceClassification.*decoder"):
        read_encoder(tiny_encoder("bert", VOCABULARY, is_decoder=True))
    bare = tiny_encoder("bert", VOCABULARY).bert
    with pytest.raises(InputError, match=r"BertModel.*ForSequenceClassification"):
        read_encoder(bare)
    with pytest.raises(InputError, match=r"no activation 'mish'"):
        mish = tiny_encoder("bert", VOCABULARY, hidden_act="mish")
        write_encoder_graph(read_encoder(mish))


def test_an_adapter_must_be_merged_first() -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        tiny_encoder("bert", VOCABULARY), LoraConfig(target_modules=["query"])
    ).base_model.model
    with pytest.raises(InputError, match="merge the adapter"):
        read_encoder(adapted)


def test_a_real_model_answers_as_pytorch() -> None:
    folder = REAL_MODELS / "minilm-l6"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("needs the model minilm-l6 in ~/.cache/edgecd-models")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=6, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        torch.nn.init.orthogonal_(model.classifier.weight)
    graph = write_encoder_graph(read_encoder(model))
    assert_same_answers(graph, model, rows=(1, 4), lengths=(1, 9, 45))
