"""A bundle under long and odd use (threads, a fork, many lines, huge texts): equal, and flat?

python -m benchmarks.robustness.endurance BUNDLE TEXTS.jsonl --out endurance.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgecd import Predictor
from edgecd.files import write_json
from edgecd.host.memory import rss_bytes
from edgecd.runtime.stream import predict_lines

THREADS = 8


def answers(predictor: Predictor, texts: Sequence[str]) -> list[tuple[Any, float]]:
    """Label and probability of each text, asked one at a time."""
    found = [predictor.predict(text) for text in texts]
    return [(one.label, max(one.probabilities.values())) for one in found]


def in_threads(predictor: Predictor, texts: Sequence[str]) -> bool:
    """Whether many threads at once get what one thread gets."""
    expected = answers(predictor, texts)
    with ThreadPoolExecutor(THREADS) as pool:
        return all(
            found == expected
            for found in pool.map(lambda _: answers(predictor, texts), range(THREADS))
        )


def in_fork(predictor: Predictor, texts: Sequence[str], limit_s: float = 60) -> bool:
    """Whether a fork of this process gets what it gets, and does not hang."""
    expected = answers(predictor, texts)
    child = os.fork()
    if child == 0:
        os._exit(answers(predictor, texts) != expected)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(child, 9)
    return False


def many_lines(predictor: Predictor, texts: Sequence[str], count: int) -> dict[str, Any]:
    """Lines labelled in a stream, with the resident memory after each tenth."""
    expected = [label for label, _ in answers(predictor, texts)]
    field = predictor.template.fields[0]

    def lines() -> Iterator[bytes]:
        for text in itertools.islice(itertools.cycle(texts), count):
            yield json.dumps({field: text}).encode() + b"\n"

    began, rss, differ = time.monotonic(), [], 0
    for number, answer in enumerate(predict_lines(predictor, lines())):
        differ += answer["label"] != expected[number % len(texts)]
        if number % (count // 10) == 0:
            rss.append(rss_bytes())
    return {
        "lines": count,
        "labels_that_differ_from_single_answers": differ,
        "rss_bytes": rss,
        "lines_per_s": round(count / (time.monotonic() - began), 1),
    }


def huge_texts(predictor: Predictor, texts: Sequence[str], count: int) -> dict[str, Any]:
    """Texts of a megabyte: the slowest, and the resident memory before and after."""
    text = (" ".join(texts) * 1000)[: 1 << 20]
    before, slowest_ms = rss_bytes(), 0.0
    for number in range(count):
        began = time.perf_counter()
        predictor.predict(text[number:])
        slowest_ms = max(slowest_ms, 1000 * (time.perf_counter() - began))
    return {
        "texts": count,
        "slowest_ms": round(slowest_ms, 1),
        "rss_bytes": [before, rss_bytes()],
    }


def main() -> None:
    """Read the options, use the bundle, and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("texts", type=Path, help="JSON lines with a column 'text'")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = asked.texts.read_text(encoding="utf-8").splitlines()[:200]
    texts = [str(json.loads(row)["text"]) for row in rows]
    predictor = Predictor.load(asked.bundle)
    told = {
        "bundle": asked.bundle.name,
        "threads": THREADS,
        "threads_agree": in_threads(predictor, texts),
        "fork_agrees": in_fork(predictor, texts),
        "huge": huge_texts(predictor, texts, 50),
        "stream": many_lines(predictor, texts, asked.lines),
    }
    write_json(asked.out, told)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
