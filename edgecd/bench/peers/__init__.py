"""Other runtimes for a run's checkpoint, as rows beside its bundles: role `peer`.

`registry` knows them by name, `edgecd.bench.systems.peer` converts and loads them for the
benchmark. Each runtime has a module of its own, whose import is cheap, with

- `IMPORTS`: what to import before `load`, so that its time is known apart;
- `PACKAGE`, `PROVIDER`: the distribution whose version is reported, what it computes on;
- `prepare(checkpoint, folder, variant, work)`: write what the runtime loads into `folder`; `work`
  is for what conversions of the same checkpoint can share. InputError for a model that it cannot
  take;
- `load(folder, variant, threads, max_tokens)`: a function from one input, `Encoded` as at most so
  many tokens, to its logits, float32 [labels]. An encoder's has token types, which the runtime
  passes on where the model takes them.
"""

from __future__ import annotations

from edgecd.bench.peers.registry import NAMES, find, installed, missing_reason

__all__ = ["NAMES", "find", "installed", "missing_reason"]
