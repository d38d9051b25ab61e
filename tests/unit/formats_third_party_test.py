# SPDX-License-Identifier: Apache-2.0
"""Third parties read what `switchyard convert` writes, and it reads what they write.

Usage: formats_third_party_test.py SWITCHYARD. Needs numpy and yaml (Debian: python3-numpy, python3-yaml); without them the
program says so and exits with 77, which the test driver shows as skipped.
The .pt files come from Python's own pickler and zipfile, with stand-ins for the few torch names that torch.save uses.
"""
import collections
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import types
import unittest
import zipfile

try:
    import numpy
    import yaml
except ImportError as error:
    print(f"skipped: {error}: install python3-numpy and python3-yaml")
    sys.exit(77)

SWITCHYARD = sys.argv[1]
LOADS = [[[4, 2, 1, 1], [0, 7, 9007199254740992, 3]], [[5, 5, 5, 5], [1, 0, 0, 0]]]
SLOTS = [[0, 1, 2, 0, 3, 2], [3, 2, 1, 0, 0, 1]]


class IntStorage:
    def __init__(self, values):
        self.values = values


def rebuild(*arguments):
    raise AssertionError("only written, never called")


def fake_torch():
    """Modules under the names that the pickler looks up."""
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")
    IntStorage.__module__ = "torch"
    rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"
    torch.IntStorage, torch._utils, utils._rebuild_tensor_v2 = IntStorage, utils, rebuild
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils


class Tensor:
    """Pickles itself as torch does: a view of a storage that lies in an entry of its own."""

    def __init__(self, array):
        self.array = numpy.ascontiguousarray(array, dtype="<i4")

    def __reduce__(self):
        strides = tuple(int(stride) // 4 for stride in self.array.strides)
        storage = IntStorage(self.array)
        return rebuild, (storage, 0, tuple(self.array.shape), strides, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages = []

    def persistent_id(self, value):
        if not isinstance(value, IntStorage):
            return None
        self.storages.append(value.values.tobytes())
        return ("storage", IntStorage, str(len(self.storages) - 1), "cpu", value.values.size)


def torch_save(value, path):
    program = io.BytesIO()
    pickler = Pickler(program)
    pickler.dump(value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("recording/data.pkl", program.getvalue())
        archive.writestr("recording/byteorder", "little")
        for number, data in enumerate(pickler.storages):
            archive.writestr(f"recording/data/{number}", data)


class ThirdPartyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        with open(self.path("loads.json"), "w") as file:
            json.dump({"schema_version": 1, "expert_load": LOADS}, file)
        with open(self.path("map.json"), "w") as file:
            json.dump({"physical_to_logical_map": SLOTS}, file)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def convert(self, source, to, *options):
        out = self.path("out." + to)
        sources = [self.path(name) for name in source.split()]
        done = subprocess.run([SWITCHYARD, "convert", *sources, "--to", to, "--out", out, *options],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def loads(self, source, *options):
        with open(self.convert(source, "json", *options)) as file:
            return json.load(file)["expert_load"]

    def test_numpy_reads_loads(self):
        array = numpy.load(self.convert("loads.json", "npy"), allow_pickle=False)
        self.assertEqual(array.dtype, numpy.dtype("<i8"))
        self.assertEqual(array.tolist(), LOADS)

    def test_numpy_loads_are_read(self):
        for dtype in ("<i8", "<u8", "<f8"):
            numpy.save(self.path("a.npy"), numpy.array(LOADS, dtype=dtype))
            self.assertEqual(self.loads("a.npy"), LOADS, dtype)
        half = numpy.array([[[0.5, 2048, 65504, 6e-8]]], dtype="<f2")
        numpy.save(self.path("h.npy"), half)
        self.assertEqual(self.loads("h.npy"), half.astype("<f8").tolist())

    def test_numpy_reads_and_writes_deployment_tables(self):
        table = numpy.load(self.convert("map.json", "deployment-npy", "--gpus", "3"), allow_pickle=False)
        self.assertEqual(table.shape, (2, 3, 2))
        self.assertEqual(table.reshape(2, 6).tolist(), SLOTS)
        numpy.save(self.path("table.npy"), table.astype("<i4"))
        with open(self.convert("table.npy", "sglang-map")) as file:
            self.assertEqual(json.load(file)["physical_to_logical_map"], SLOTS)

    def test_yaml_reads_and_writes_load_balancer_configurations(self):
        with open(self.convert("map.json", "trtllm-yaml", "--gpus", "2", "--first-layer", "3")) as file:
            config = yaml.safe_load(file)
        self.assertEqual(config["initial_global_assignments"], {3: SLOTS[0], 4: SLOTS[1]})
        self.assertEqual(config["num_slots"], 6)
        self.assertEqual(config["layer_updates_per_iter"], 0)
        many = {layer: [(layer + slot) % 64 for slot in range(72)] for layer in range(3, 6)}  # PyYAML wraps these
        with open(self.path("many.yaml"), "w") as file:
            yaml.dump({"num_slots": 72, "initial_global_assignments": many, "layer_updates_per_iter": 2}, file,
                      default_flow_style=None)
        with open(self.convert("many.yaml", "sglang-map", "--gpus", "8")) as file:
            self.assertEqual(json.load(file)["physical_to_logical_map"], list(many.values()))

    def test_json_reads_maps(self):
        with open(self.convert("map.json", "ascend", "--gpus", "3")) as file:
            ascend = json.load(file)
        self.assertEqual(ascend["moe_layer_count"], 2)
        devices = ascend["layer_list"][1]["device_list"]
        self.assertEqual([device["device_expert"] for device in devices], [[3, 2], [1, 0], [0, 1]])
        with open(self.convert("map.json", "vllm-map", "--gpus", "2")) as file:
            record = json.loads(file.readline())
        self.assertEqual(record["record_type"], "eplb_initial_mapping")
        self.assertEqual(record["num_redundant_experts"], 2)
        self.assertEqual(record["initial_global_assignments"], {"0": SLOTS[0], "1": SLOTS[1]})
        with open(self.convert("map.json", "vllm-state", "--gpus", "2")) as file:
            state = json.load(file)
        self.assertEqual((state["num_moe_layers"], state["num_logical_experts"], state["num_physical_experts"]), (2, 4, 6))
        self.assertEqual(state["physical_to_logical_map"], SLOTS)

    def test_json_reads_statistics(self):
        with open(self.convert("loads.json", "vllm-stats")) as file:
            records = [json.loads(line) for line in file]
        self.assertEqual([record["expert_load"] for record in records], LOADS)
        self.assertEqual(records[0]["p2l_map"], [[0, 1, 2, 3]] * 2)
        with open(self.convert("loads.json", "sglang-json")) as file:
            self.assertEqual(json.load(file)["logical_count"], LOADS)

    def test_safetensors_by_hand(self):
        with open(self.convert("loads.json", "trtllm-stats", "--first-layer", "3"), "rb") as file:
            content = file.read()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8:8 + length])
        self.assertEqual(list(header), ["0_3", "0_4", "1_3", "1_4"])
        for name, entry in header.items():
            step, layer = map(int, name.split("_"))
            begin, end = entry["data_offsets"]
            data = content[8 + length + begin:8 + length + end]
            self.assertEqual(entry["dtype"], "I64")
            self.assertEqual(list(struct.unpack("<4q", data)), LOADS[step][layer - 3])
        self.assertEqual(8 + length + end, len(content))

    def test_recordings_of_pythons_own_pickler(self):
        torch_save({"rank": 0, "logical_count": Tensor([[[1, 2, 3], [4, 5, 6]]]),
                    "average_utilization_rate_over_window": {10: 0.5, 100: None}}, self.path("stat.pt"))
        self.assertEqual(self.loads("stat.pt"), [[[1, 2, 3], [4, 5, 6]]])
        records = [{"forward_pass_id": number, "rank": 0, "gatherer_key": "primary",
                    "global_physical_count": Tensor([[10 * number, 1, 2]]), "misc_objects": [], "rids": ["a", "b"]}
                   for number in range(2)]
        torch_save({"records": records, "last_physical_to_logical_map": Tensor([[0, 1, 0]])}, self.path("pass.pt"))
        self.assertEqual(self.loads("pass.pt"), [[[2, 1]], [[12, 1]]])
        self.assertEqual(self.loads("pass.pt pass.pt", "--experts", "2"), [[[4, 2]], [[24, 2]]])


if __name__ == "__main__":
    fake_torch()
    unittest.main(argv=sys.argv[:1])
