"""Simple classifiers that learn from the same labelled examples, as rows of role `rival`.

`registry` knows them by name, `edgecd.bench.systems.rival` trains and loads them for the benchmark.
Each has a module of its own, whose import is cheap, with

- `PACKAGE`, `RUNTIME`, `PRECISION`: the distribution whose version is reported, and what the row
  says of how it runs;
- `train(lesson, folder)`: learn from the lesson's examples alone, and write what `load` reads into
  `folder`, as JSON and safetensors. InputError for a lesson that it cannot learn from;
- `imports()`: what to import before `load`, so that its time is known apart;
- `load(spec, folder)`: the classifier, ready to answer (see `learned`).
"""

from __future__ import annotations
