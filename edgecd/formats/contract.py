"""What a graph's inputs and outputs are named: its writers and its readers agree on these.

Every graph takes INPUTS, int64 [batch, sequence], padded on the right (1 = real), and gives LOGITS,
float32 [batch, labels]. An encoder's takes SEGMENTS besides, of the same shape, where it tells a
text's parts apart. A language model's takes a context besides: PAST, float32
[layers, 2, kv_heads, positions, head_size], and HEAD, float32 [labels, width]. A compressor takes
the token ids alone, with LABEL_IDS, int64 [labels], and gives PAST and HEAD.
"""

from __future__ import annotations

INPUTS = ("input_ids", "attention_mask")
SEGMENTS = "token_type_ids"
LOGITS = "logits"
PAST, HEAD = "past", "head"
LABEL_IDS = "label_ids"
