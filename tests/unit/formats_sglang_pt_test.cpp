// SPDX-License-Identifier: Apache-2.0
// SGLang's recordings, built opcode by opcode. Worked example, per_pass: one layer of 3 slots that hold experts 0, 1,
// 0, counted 5, 7, 2 in one pass. Expert 0 has two replicas: the logical load is [5 + 2, 7].
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/torch_bytes.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/io/placement_formats.hpp"

namespace {

using namespace support;
using switchyard::ErrorCode;
using switchyard::ExpertLoad;
using switchyard::io::LoadFormat;
using switchyard::io::parse_expert_load;
using switchyard::io::parse_placement;

std::string refusal(std::string const& file, int experts = 0) {
  return error_text(ErrorCode::parse, [&] { return parse_expert_load(file, "in", experts); });
}

/// A recording of `per_pass` mode with one layer of three slots.
std::string passes_file(std::string const& map_tensor, std::vector<std::string> const& passes) {
  std::string const program =
      pickle_program(pickle_dict({{"records", pickle_list(passes)}, {"last_physical_to_logical_map", map_tensor}}));
  return torch_file(program, {int32_bytes({5, 7, 2}), int32_bytes({0, 1, 0}), int32_bytes({1, 1, 1})});
}

std::string pass(std::string const& key, std::string const& tensor) {
  return pickle_dict({{"forward_pass_id", std::string("K") + little(7, 1)},
                      {"rank", std::string("K") + little(0, 1)},
                      {"gatherer_key", pickle_text(key)},
                      {"global_physical_count", tensor}});
}

std::string const kMap = pickle_tensor({.key = "1", .held = 3, .shape = {1, 3}});
std::string const kCounts = pickle_tensor({.key = "0", .held = 3, .shape = {1, 3}});
std::string const kMoreCounts = pickle_tensor({.key = "2", .held = 3, .shape = {1, 3}});

}  // namespace

TEST_CASE("stat: [S][L][E] and [L][E], int32 and int64, strided views") {
  auto const read = parse_expert_load(sglang_stat_file({2, 1, 3}, {1, 2, 3, 4, 5, 6}), "in", 0);
  CHECK(read.format == LoadFormat::sglang_pt);
  CHECK(read.load == ExpertLoad(2, 1, 3, {1, 2, 3, 4, 5, 6}));
  CHECK(parse_expert_load(sglang_stat_file({2, 3}, {1, 2, 3, 4, 5, 6}), "in", 3).load ==
        ExpertLoad(1, 2, 3, {1, 2, 3, 4, 5, 6}));
  // The transposed view of [3][2], one element into the storage.
  std::string const view = pickle_tensor({.held = 7, .first = 1, .shape = {2, 3}, .strides = {1, 2}});
  std::string const program = pickle_program(pickle_dict({{"logical_count", view}}));
  CHECK(parse_expert_load(torch_file(program, {int32_bytes({9, 1, 2, 3, 4, 5, 6})}), "in", 0).load ==
        ExpertLoad(1, 2, 3, {1, 3, 5, 2, 4, 6}));
  std::string const wide = pickle_tensor({.storage_type = "LongStorage", .held = 2, .shape = {1, 2}});
  CHECK(parse_expert_load(
            torch_file(pickle_program(pickle_dict({{"logical_count", wide}})), {little(3, 8) + little(4, 8)}), "in", 0)
            .load == ExpertLoad(1, 1, 2, {3, 4}));
}

TEST_CASE("per_pass: the worked example; other gatherers are left out; the map is a placement") {
  std::string const file =
      passes_file(kMap, {pass("primary", kCounts), pass("child_a", kCounts), pass("primary", kMoreCounts)});
  auto const read = parse_expert_load(file, "in", 0);
  CHECK(read.load == ExpertLoad(2, 1, 2, {7, 7, 2, 1}));
  CHECK(read.records == 2);
  CHECK(read.dropped_other == 1);
  CHECK(parse_expert_load(file, "in", 3).load == ExpertLoad(2, 1, 3, {7, 7, 0, 2, 1, 0}));
  auto const placement = parse_placement({file, "in", 0, 3});
  CHECK(placement.placement.num_experts() == 2);
  CHECK(placement.placement.expert_at(0, switchyard::SlotId(2)).value() == 0);
  CHECK(contains(refusal(passes_file(kMap, {})), "no forward pass of the primary gatherer"));
  CHECK(contains(refusal(file, 1), "element 1: found 1, an expert in [-1, 1) is required"));
  std::string const wrong = pickle_tensor({.key = "0", .held = 3, .shape = {3, 1}});
  CHECK(contains(refusal(passes_file(kMap, {pass("primary", wrong)})), "$['records'][0]['global_physical_count']"));
}

TEST_CASE("a pickle that names anything else is refused by name, never called") {
  std::string const evil = pickle_program(std::string("cos\nsystem\n(") + pickle_text("echo owned") + "tR");
  CHECK(contains(refusal(torch_file(evil, {})), "it names 'os.system'"));
  CHECK(contains(refusal(torch_file(pickle_program("ctorch.hub\nloadStorage\n"), {})),
                 "it names 'torch.hub.loadStorage'"));
  CHECK(contains(refusal(torch_file(pickle_program("(N\x81"), {})), "opcode 0x81"));
  CHECK(contains(refusal(torch_file(pickle_program("}N\x62"), {})), "opcode 0x62 ('b')"));
  CHECK(contains(refusal(torch_file("\x80\x04.", {})), "protocol 2"));
  CHECK(contains(refusal(torch_file(pickle_program("N"), {})), "found a None, a dictionary is required"));
  CHECK(contains(refusal(torch_file(pickle_program("}"), {})), "'logical_count'"));
}

TEST_CASE("programs that do not fit their stack are refused with the byte") {
  CHECK(contains(refusal(torch_file(pickle_program(""), {})), "a value that is not there"));
  CHECK(contains(refusal(torch_file(pickle_program("t"), {})), "a mark that is not there"));
  CHECK(contains(refusal(torch_file(pickle_program("("), {})), "a value that is not there"));
  CHECK(contains(refusal(torch_file(pickle_program("NN"), {})), "left on the stack"));
  CHECK(contains(refusal(torch_file(pickle_program("h\x07"), {})), "memo 7 was never written"));
  CHECK(contains(refusal(torch_file(pickle_program(std::string("X") + little(99, 4) + "abc"), {})),
                 "ends inside a string"));
  CHECK(contains(
      refusal(torch_file(pickle_program(std::string("}(") + pickle_text("a") + "N" + pickle_text("a") + "Nu"), {})),
      "the key 'a' appears twice"));
  CHECK(contains(refusal(torch_file(pickle_program("}(Nu"), {})), "a key without a value"));
  CHECK(contains(refusal(torch_file(pickle_program("NNa"), {})), "a list is required on the stack"));
  CHECK(contains(refusal(torch_file(pickle_program("\x8a\x09"), {})), "beyond 64 bits"));
}

TEST_CASE("tensors that leave their storage, or multiply it, are refused") {
  auto const stat = [](PickledTensor const& tensor) {
    return torch_file(pickle_program(pickle_dict({{"logical_count", pickle_tensor(tensor)}})),
                      {int32_bytes({1, 2, 3})});
  };
  CHECK(contains(refusal(stat({.held = 3, .shape = {2, 2}})), "leaves the storage, which holds 3 elements"));
  CHECK(contains(refusal(stat({.held = 3, .first = 1, .shape = {1, 3}})), "leaves the storage"));
  CHECK(contains(refusal(stat({.held = 3, .shape = {4096, 4096}, .strides = {0, 0}})), "leaves the storage"));
  CHECK(contains(refusal(stat({.held = 3, .shape = {1, 2}, .strides = {1, -1}})), "must not be negative"));
  CHECK(contains(refusal(stat({.key = "7", .held = 3, .shape = {1, 3}})), "no entry 'data/7'"));
  CHECK(contains(refusal(stat({.storage_type = "BoolStorage", .held = 3, .shape = {1, 3}})), "'BoolStorage'"));
  CHECK(contains(refusal(stat({.held = 3, .shape = {3}})), "1 dimensions"));
  std::string const negative =
      torch_file(pickle_program(pickle_dict({{"logical_count", pickle_tensor({.held = 1, .shape = {1, 1}})}})),
                 {int32_bytes({-4})});
  CHECK(contains(refusal(negative), "$['logical_count'], element 0: found -4"));
}

TEST_CASE("archives: compressed, damaged, doubled and cut ones are refused with the byte") {
  std::string const good = sglang_stat_file({1, 1, 2}, {1, 2});
  for (std::size_t length = 2; length < good.size(); ++length) {
    CAPTURE(length);
    CHECK(contains(refusal(good.substr(0, length)), "in: byte "));
  }
  std::string damaged = good;
  damaged[damaged.find(little(1, 4) + little(2, 4))] = '\x09';
  CHECK(contains(refusal(damaged), "does not match its checksum"));
  CHECK(contains(refusal(zip_bytes({{"a/data.pkl", "x"}}, 8)), "is compressed"));
  CHECK(contains(refusal(zip_bytes({{"a/data.pkl", "x"}, {"a/data.pkl", "x"}})), "two entries are called"));
  CHECK(contains(refusal(zip_bytes({{"readme", "x"}})), "no entry 'NAME/data.pkl'"));
  CHECK(contains(refusal(zip_bytes({{"a/data.pkl", "x"}, {"a/byteorder", "big"}})), "little-endian"));
}
