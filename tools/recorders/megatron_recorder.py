# SPDX-License-Identifier: Apache-2.0
"""Records Megatron-Core's AlltoAll or AllGather dispatcher for `switchyard check` (docs/formats/recording.md).

    recorder = MegatronRecorder(f"rank{rank}.jsonl", layer=3)  # AllGather: family="megatron_allgather"
    ...dispatch as usual; after it, with the rows that reached the experts:
    recorder.record(dispatcher, tokens_per_expert, rows)

For row tags feed tokens whose first two columns are rank and token number, and pass the rows; otherwise leave rows out.
"""
import json

# Name in the recording -> attributes of the dispatcher, older and newer versions.
FIELDS = {
    "num_out_tokens": ("num_out_tokens",),
    "permutation": ("reversed_local_input_permutation_mapping",),
    "input_splits": ("input_splits",),
    "output_splits": ("output_splits",),
    "output_splits_tp": ("output_splits_tp",),
    "num_global_tokens_per_local_expert": ("num_global_tokens_per_local_expert",
                                           "num_global_tokens_per_local_expert_cpu"),
    "sort_input_by_local_experts": ("sort_input_by_local_experts",),
    "restore_output_by_local_experts": ("restore_output_by_local_experts",),
}
ALLGATHER_FIELDS = {"expansion": ("reversed_local_input_permutation_mapping",)}


def integers(value):
    """Tensors, arrays and nested sequences become lists of int; a scalar becomes an int."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [integers(item) for item in value] if isinstance(value, (list, tuple)) else int(value)


class MegatronRecorder:
    def __init__(self, path, layer=0, family="megatron_alltoall"):
        self.path, self.layer, self.family = path, layer, family

    def record(self, dispatcher, tokens_per_expert=None, rows=None, rank=None, routing_map=None):
        """rank: ep_rank * tp + tp_rank; taken from the dispatcher's tp_ep_group when absent.
        routing_map: this rank's own; needed with AllGather, whose dispatcher keeps the gathered one."""
        rank = dispatcher.tp_ep_group.rank() if rank is None else rank
        routing_map = integers(dispatcher.routing_map if routing_map is None else routing_map)
        line = {"type": "dispatch", "schema_version": 1, "rank": rank, "tp": dispatcher.tp_size,
                "ep": dispatcher.ep_size, "layer": self.layer, "family": self.family,
                "num_experts": getattr(dispatcher, "num_experts", None) or len(routing_map[0]),
                "routing": [[expert for expert, chosen in enumerate(token) if chosen] for token in routing_map]}
        capacity = getattr(dispatcher, "capacity", None)
        if capacity is not None:  # set on the padded path only
            line["capacity"] = {"rows": int(capacity), "padded": bool(dispatcher.drop_and_pad)}
        for name, attributes in (FIELDS if self.family == "megatron_alltoall" else ALLGATHER_FIELDS).items():
            found = [getattr(dispatcher, attribute, None) for attribute in attributes]
            values = [value for value in found if value is not None]
            if values:
                line[name] = integers(values[0])
        if tokens_per_expert is not None:
            line["tokens_per_local_expert"] = integers(tokens_per_expert)
        if rows is not None:
            line["row_tags"] = integers(rows[:, :2])
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
