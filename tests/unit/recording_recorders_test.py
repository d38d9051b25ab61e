# SPDX-License-Identifier: Apache-2.0
"""The recorders with fake objects in place of the frameworks; `switchyard check` judges what they write.

Usage: recording_recorders_test.py RECORDERS_FOLDER SWITCHYARD
The Megatron case is the worked example of docs/formats/recording.md: tp 2 x ep 2, four experts, two tokens per rank.
"""
import json
import os
import subprocess
import sys
import tempfile
import types
import unittest

RECORDERS, SWITCHYARD = sys.argv[1:3]
sys.path.insert(0, RECORDERS)
from megatron_recorder import MegatronRecorder  # noqa: E402
from vllm_recorder import VllmRecorder  # noqa: E402


class Tensor:
    """As much of a tensor as a recorder touches."""

    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values

    def __getitem__(self, key):
        return Tensor([row[key[1]] for row in self.values])


ROUTING = [[[0, 2], [2, 3]], [[0, 3], [0, 1]], [[0, 2], [0, 1]], [[0, 1], [0, 3]]]
SPLITS = [([1, 3], [1, 3], [4, 6]), ([3, 1], [3, 3], [4, 6]), ([3, 1], [3, 1], [4, 2]), ([3, 1], [1, 1], [4, 2])]
COUNTS = [[7, 3], [7, 3], [3, 3], [3, 3]]
SECOND_TAGS = [[0, 0], [0, 1], [2, 0], [0, 1], [1, 0], [3, 1]]  # rows of EP rank 1


def dispatcher(rank):
    splits = SPLITS[rank]
    return types.SimpleNamespace(
        tp_ep_group=types.SimpleNamespace(rank=lambda: rank), tp_size=2, ep_size=2, num_experts=4,
        routing_map=Tensor([[expert in token for expert in range(4)] for token in ROUTING[rank]]),
        input_splits=splits[0], output_splits=Tensor(splits[1]), output_splits_tp=splits[2], num_out_tokens=4,
        sort_input_by_local_experts=Tensor([0, 2, 4, 6, 1, 3, 5, 7]), capacity=None,
        num_global_tokens_per_local_expert=None)


class RecordersTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, rank):
        return os.path.join(self.folder.name, f"rank{rank}.jsonl")

    def check(self, ranks):
        command = [SWITCHYARD, "check"] + [self.path(rank) for rank in range(ranks)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def record_megatron(self, wrong_rank=None):
        for rank in range(4):
            fake = dispatcher(rank)
            if rank == wrong_rank:
                fake.input_splits = [2, 2]
            rows = Tensor([tag + [0.5] for tag in SECOND_TAGS]) if rank >= 2 else None
            MegatronRecorder(self.path(rank)).record(fake, Tensor(COUNTS[rank]), rows)

    def test_megatron_agrees(self):
        self.record_megatron()
        code, text = self.check(4)
        self.assertEqual(code, 0, text)
        self.assertIn("row_tags", text)

    def test_megatron_mistake_is_found(self):
        self.record_megatron(wrong_rank=2)
        code, text = self.check(4)
        self.assertEqual(code, 1, text)
        self.assertIn("rank 2, input_splits[0]: expected 3, got 2", text)

    def record_allgather(self, first_row):
        gathered = [[first_row, 2, 3, 4, 5, 6, 7, 3, 5, 6], [0, 1, 4, 1, 2, 7]]  # rows of EP ranks 0 and 1
        for rank in range(4):
            fake = types.SimpleNamespace(
                tp_ep_group=types.SimpleNamespace(rank=lambda rank=rank: rank), tp_size=2, ep_size=2,
                routing_map=Tensor([]), reversed_local_input_permutation_mapping=Tensor(gathered[rank // 2]))
            recorder = MegatronRecorder(self.path(rank), family="megatron_allgather")
            recorder.record(fake, Tensor(COUNTS[rank]), routing_map=dispatcher(rank).routing_map)

    def test_allgather_agrees_and_its_mistake_is_found(self):
        self.record_allgather(0)
        code, text = self.check(4)
        self.assertEqual(code, 0, text)
        self.assertIn("expansion", text)
        for rank in range(4):
            os.remove(self.path(rank))
        self.record_allgather(1)
        code, text = self.check(4)
        self.assertEqual(code, 1, text)
        self.assertIn("rank 0, expansion[0]: expected 0, got 1", text)

    def test_padded_capacity_is_recorded(self):
        fake = dispatcher(0)
        fake.capacity, fake.drop_and_pad = 2, True
        MegatronRecorder(self.path(0), layer=5).record(fake)
        with open(self.path(0), encoding="utf-8") as file:
            line = json.loads(file.read())
        self.assertEqual(line["capacity"], {"rows": 2, "padded": True})
        self.assertEqual(line["layer"], 5)
        self.assertNotIn("num_global_tokens_per_local_expert", line)

    def record_vllm(self, counts):
        """Two ranks, experts 0 1 | 2 3; every rank holds one token that chose experts 0 and 3."""

        def prepare(a1, topk_weights, topk_ids, num_experts):
            return a1, None, types.SimpleNamespace(expert_num_tokens=Tensor(counts[prepare.rank])), None, None

        for rank in range(2):
            prepare.rank = rank
            recorded = VllmRecorder(self.path(rank), rank, 2, 4).wrap(prepare)
            result = recorded(None, None, topk_ids=Tensor([[0, 3]]), num_experts=4)
            self.assertEqual(len(result), 5)

    def test_vllm_agrees(self):
        self.record_vllm([[2, 0], [0, 2]])
        VllmRecorder(self.path(0), 0, 2, 4).record([[0, 3]], rows=Tensor([[0, 0, 9], [1, 0, 9]]))
        VllmRecorder(self.path(1), 1, 2, 4).record([[0, 3]], rows=Tensor([[0, 0, 9], [1, 0, 9]]))
        code, text = self.check(2)
        self.assertEqual(code, 0, text)
        self.assertIn("2 dispatch(es) of 2 rank(s)", text)

    def test_vllm_mistake_is_found(self):
        self.record_vllm([[2, 0], [1, 1]])
        code, text = self.check(2)
        self.assertEqual(code, 1, text)
        self.assertIn("rank 1, tokens_per_local_expert[0]: expected 0, got 1", text)

    def test_recorders_stay_short(self):
        for name in ("megatron_recorder.py", "vllm_recorder.py"):
            with open(os.path.join(RECORDERS, name), encoding="utf-8") as file:
                self.assertLessEqual(len(file.readlines()), 60, name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
