"""Tiny bundles and the Python predictor's answers, for the tests of this folder.

python export/web/test/make_bundles.py OUT, from the repository's root with edgecd[dev] installed.
Bundles of your own may follow OUT: theirs are answered as well.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from edgecd import Predictor  # noqa: E402
from edgecd.export.config import ExportConfig  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from tests import tiny  # noqa: E402
from tests.tiny_encoders import TEXT_TEMPLATE, encoder_run  # noqa: E402

ODD = (
    "", " ", "\n\n\t", "naïve café 漢字 🙂 e\u0301", "ΣΊΣΥΦΟΣ ΟΔΟΣ İstanbul STRASSE ß", "a" * 300,
    "[SEP] the [CLS] cat </s> <s> <pad> [MASK]", "{premise} {{x}}", "\u200b\ufeff\u00a0x\u2028y",
    "don't we'll I'VE 1,234.5 -- ... ?!", "мир  труд   май", "नमस्ते दुनिया", "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 🇨🇭 ﬁ ½ ①", "\x00\x01\x7f", "the\r\nquick\rbrown", "__proto__", "ab\u0301\u0323c Å",
    "x\ufeff", "\ufeff",
    "\x1c\x85", "<|endoftext|> <tool_call> [x] <unk>", "word " * 9_000, "🙂" * 20_000,
)  # fmt: skip


def inputs(fields: tuple[str, ...], count: int) -> list[dict[str, str]]:
    """Inputs of every kind and length; many are too long."""
    rng = random.Random(0)

    def one() -> str:
        text = " ".join(
            rng.choice(ODD) if rng.random() < 0.15 else tiny.sentence(rng.randrange(10**6))
            for _ in range(rng.choice((1, 1, 1, 2, 8, 30)))
        )
        return text.upper() if rng.random() < 0.1 else text

    plain = [dict.fromkeys(fields, odd) for odd in ODD]
    return [*plain, *({name: one() for name in fields} for _ in range(count))]


def make(out: Path) -> list[Path]:
    """The bundles, in new folders of `out`."""
    opt = tiny.tiny_run(out / "o", "opt", max_length=48, tokenizer=tiny.tiny_tokenizer(True))
    runs = {
        "decoder-int8": (tiny.tiny_run(out / "l", "llama", max_length=48), "int8"),
        "decoder-fp32": (opt, "fp32"),
        "pair-int8": (encoder_run(out / "b", "bert"), "int8"),
        "pair-fp32": (encoder_run(out / "x", "xlm-roberta"), "fp32"),
        "text-fp32": (encoder_run(out / "r", "roberta", TEXT_TEMPLATE), "fp32"),
    }
    for name, (run, precision) in runs.items():
        config = ExportConfig(precision=precision, max_flips=100.0, threshold=0.5)
        export_run(run, out / name, config, force=True)
    return [out / name for name in runs]


def main(out: Path, more: list[Path]) -> None:
    """Write `cases.json`: for each bundle its inputs and what the predictor answers."""
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for bundle in [*make(out), *more]:
        predictor = Predictor.load(bundle, threads=1)
        answered = []
        for given in inputs(predictor.template.fields, 150):
            try:
                (encoded,) = predictor.encode([given])
                found = predictor.predict(given)
            except Exception as said:
                answered.append({"input": given, "error": str(said)})
                continue
            answered.append(
                {
                    "input": given,
                    "ids": encoded.ids,
                    "type_ids": encoded.type_ids,
                    "label": found.label,
                    "unsure": found.unsure,
                    "probabilities": found.probabilities,
                    "shortened": found.shortened,
                }
            )
        cases.append({"bundle": str(bundle.resolve()), "answers": answered})
    (out / "cases.json").write_text(json.dumps(cases), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
