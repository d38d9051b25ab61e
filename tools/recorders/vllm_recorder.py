# SPDX-License-Identifier: Apache-2.0
"""Records a vLLM modular-kernel prepare step for `switchyard check` (docs/formats/recording.md).

    recorder = VllmRecorder(f"rank{rank}.jsonl", rank, ep_size, num_experts, layer=3)
    kernel.prepare_finalize.prepare = recorder.wrap(kernel.prepare_finalize.prepare)

Counts are recorded whenever prepare returns them. Rows are recorded with record(rows=...): the rows in expert order,
made from tokens whose first two columns are rank and token number. Replicas and expert maps: pass the placement.
"""
import functools
import inspect
import json


def integers(value):
    """Tensors, arrays and nested sequences become lists of int."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [integers(item) for item in value] if isinstance(value, (list, tuple)) else int(value)


class VllmRecorder:
    def __init__(self, path, rank, ep_size, num_experts, layer=0, slots_per_rank=None, slot_to_expert=None):
        self.path = path
        self.head = {"type": "dispatch", "schema_version": 1, "rank": rank, "tp": 1, "ep": ep_size, "layer": layer,
                     "num_experts": num_experts, "row_order": "rank_major"}
        if slots_per_rank is not None:
            self.head.update(slots_per_rank=integers(slots_per_rank), slot_to_expert=integers(slot_to_expert))

    def wrap(self, prepare):
        """prepare() whose calls are recorded: routing from its topk_ids, counts from the metadata it returns."""
        signature = inspect.signature(prepare)

        @functools.wraps(prepare)
        def recorded(*args, **kwargs):
            topk_ids = signature.bind(*args, **kwargs).arguments["topk_ids"]
            routing = integers(topk_ids)  # before the call, which may reuse the buffer
            result = prepare(*args, **kwargs)
            counts = [getattr(part, "expert_num_tokens", None) for part in result]
            self.record(routing, next((count for count in counts if count is not None), None))
            return result

        return recorded

    def record(self, topk_ids, expert_num_tokens=None, rows=None):
        """topk_ids: [tokens][k] logical experts, -1 = dropped. expert_num_tokens: [local experts]."""
        line = dict(self.head, routing=integers(topk_ids))
        if expert_num_tokens is not None:
            line["tokens_per_local_expert"] = integers(expert_num_tokens)
        if rows is not None:
            line["row_tags"] = integers(rows[:, :2])
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
