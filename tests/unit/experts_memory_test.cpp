// SPDX-License-Identifier: Apache-2.0
// The capacity calculator against figures worked by hand.
//
// A layer of 8 experts (hidden 256, intermediate 128, gated), top-2, EP 4, TP 1, 10 tokens per rank, bf16: 2 slots per
// rank, rows of 512 bytes. AlltoAll: 10 * 2 = 20 rows leave, 4 * 10 * min(2, 2) = 80 arrive at worst, 20 expected.
// Flex: a token misses a rank with probability (6/8)(5/7) = 15/28, so it goes to 4 * 13/28 = 13/7 ranks: 18.57 -> 19 of
// at most 20 rows leave; 40 * 13/28 = 18.57 -> 19 of at most 40 arrive.
// Weights: w1 256 x 256, w2 256 x 128: 98,304 values, 196,608 bytes per expert.
//
// DeepEP, by the table of vLLM issue 57894: hidden 5120, 448 physical experts: 2,048 tokens take 35.55 GiB, 1,840
// take 31.94.
#include <doctest/doctest.h>

#include <cmath>

#include "support/error_text.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/experts/memory_plan.hpp"

namespace {

namespace cpu = switchyard::cpu;
using support::contains;
using support::error_text;
using switchyard::count_routed_rows;
using switchyard::deepep_low_latency_buffer;
using switchyard::DeepEpLowLatencyBuffer;
using switchyard::Error;
using switchyard::ErrorCode;
using switchyard::ExpertMlp;
using switchyard::FamilyMemory;
using switchyard::find_moe_shape;
using switchyard::find_weight_format;
using switchyard::MemoryAmount;
using switchyard::MemoryBuffer;
using switchyard::MemoryPlan;
using switchyard::MemoryRequest;
using switchyard::moe_shape_presets;
using switchyard::MoeShape;
using switchyard::plan_memory;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::RebalanceStaging;
using switchyard::RoutedRows;
using switchyard::RoutingMap;

MemoryRequest small_request() {
  MemoryRequest request;
  request.shape = {"small", 256, 128, 8, 2, 1, 0, true, false};
  request.grid.ep = 4;
  request.tokens_per_rank = 10;
  request.weights = *find_weight_format("bf16");
  return request;
}

MemoryAmount bytes_of(std::vector<MemoryBuffer> const& buffers, std::string const& name) {
  for (MemoryBuffer const& buffer : buffers)
    if (buffer.name == name) return buffer.bytes;
  FAIL("no buffer " << name);
  return {};
}

FamilyMemory const& family_of(MemoryPlan const& plan, std::string const& name) {
  for (FamilyMemory const& family : plan.families)
    if (family.name == name) return family;
  FAIL("no family " << name);
  return plan.families.front();
}

/// Rows in 512-byte units: (expected, worst).
void check_rows(FamilyMemory const& family, std::string const& buffer, std::int64_t expected, std::int64_t worst) {
  CAPTURE(family.name);
  CAPTURE(buffer);
  MemoryAmount const bytes = bytes_of(family.buffers, buffer);
  CHECK(bytes.expected == expected * 512);
  CHECK(bytes.worst == worst * 512);
  CHECK_FALSE(bytes.exact.has_value());
}

TEST_CASE("the example by hand: rows of every family") {
  MemoryPlan const plan = plan_memory(small_request());
  CHECK(plan.slots_per_rank == 2);
  CHECK(plan.row_bytes == 512);
  CHECK(plan.wire_row_bytes == 512);
  CHECK(plan.expert_bytes == 196608);
  FamilyMemory const& alltoall = family_of(plan, "alltoall");
  check_rows(alltoall, "dispatch send", 20, 20);
  check_rows(alltoall, "dispatch receive", 20, 80);
  check_rows(alltoall, "rows by expert", 20, 80);
  check_rows(alltoall, "combine send", 20, 80);
  check_rows(alltoall, "combine receive", 20, 20);
  check_rows(alltoall, "combined tokens", 10, 10);
  FamilyMemory const& flex = family_of(plan, "flex");
  check_rows(flex, "dispatch send", 19, 20);
  check_rows(flex, "dispatch receive", 19, 40);
  check_rows(flex, "expert outputs", 20, 80);
  FamilyMemory const& allgather = family_of(plan, "allgather");
  check_rows(allgather, "gathered tokens", 40, 40);
  CHECK(bytes_of(allgather.buffers, "gathered routing").worst == 40 * 8 * 5);
  check_rows(allgather, "permuted rows", 20, 80);
  check_rows(family_of(plan, "megablocks"), "padded rows", 20 + 2 * 127, 80 + 2 * 127);
  check_rows(family_of(plan, "low_latency"), "batched rows", 80, 80);
}

TEST_CASE("totals: weights, staging as asked for, the engine's own workspace, buffers") {
  MemoryRequest request = small_request();
  cpu::ExactExperts const engine([] {
    ExpertMlp mlp;
    mlp.hidden = 256;
    mlp.intermediate = 128;
    mlp.num_local_experts = 2;
    return mlp;
  }());
  request.engine = &engine;
  request.shape.layers = 3;
  request.shape.shared_experts = 1;
  std::int64_t const rows =
      20 + 80 * 4 + 20 + 10;  // alltoall at worst: send, receive, by expert, outputs, send, receive
  std::int64_t const weights = 3 * (2 + 1) * 196608;
  for (auto const& [staging, bytes] : {std::pair{RebalanceStaging::none, 0},
                                       {RebalanceStaging::buffered, 2 * 196608},
                                       {RebalanceStaging::in_place, 5 * 196608}}) {
    request.staging = staging;
    request.spare_rows = 5;
    MemoryAmount const total = family_of(plan_memory(request), "alltoall").total;
    CHECK(total.worst == rows * 512 + weights + bytes + engine.workspace_bytes(40));
    CHECK(total.expected == 130 * 512 + weights + bytes + engine.workspace_bytes(10));
  }
}

TEST_CASE("tensor parallel ranks: shards of weights, rows of all lanes, no MegaBlocks") {
  MemoryRequest request = small_request();
  request.grid = {2, 4};
  MemoryPlan const plan = plan_memory(request);
  CHECK(plan.expert_bytes == 98304);
  FamilyMemory const& alltoall = family_of(plan, "alltoall");
  check_rows(alltoall, "dispatch receive", 20, 80);
  check_rows(alltoall, "gathered over TP", 40, 160);
  check_rows(family_of(plan, "flex"), "dispatch send", 37, 40);  // 2 * 10 * 13/7 = 37.14
  for (FamilyMemory const& family : plan.families) CHECK(family.name != "megablocks");
  request.shape.intermediate = 9;  // blocks of 1 and one of 2: the second TP rank has 5 units
  CHECK(plan_memory(request).expert_bytes == 2 * (2 * 5 * 256 + 256 * 5));
}

TEST_CASE("rows as they travel, weights as they are stored, biases") {
  MemoryRequest request = small_request();
  request.quant = QuantSpec{};  // fp8, 128 columns: 256 codes and 2 scales
  request.shape.biases = true;
  request.weights = *find_weight_format("nvfp4");
  MemoryPlan const plan = plan_memory(request);
  CHECK(plan.wire_row_bytes == 256 + 8);
  CHECK(bytes_of(family_of(plan, "alltoall").buffers, "dispatch send").worst == 20 * 264);
  CHECK(bytes_of(family_of(plan, "alltoall").buffers, "combine receive").worst == 20 * 512);
  CHECK(plan.expert_bytes == 98304 / 2 + 98304 / 16 + 2 * 4 + (256 + 256) * 2);
  auto const matrix = [](char const* format) { return find_weight_format(format)->matrix_bytes(256, 256); };
  CHECK(matrix("f32") == 4 * 65536);
  CHECK(matrix("fp8_tensor") == 65536 + 4);
  CHECK(matrix("fp8_block") == 65536 + 4 * 4);
  CHECK(matrix("mxfp8") == 65536 + 65536 / 32);
  CHECK(matrix("mxfp4") == 65536 / 2 + 65536 / 32);
  CHECK(matrix("int8_group") == 65536 + 512 * 4);
  CHECK(matrix("int4_group_zero") == 65536 / 2 + 512 * 5);
  // Published sizes of one expert: DeepSeek-V3 23.6 MiB in nvfp4, gpt-oss 12.6 MiB in mxfp4.
  auto const mib = [](char const* model, char const* format) {
    MemoryRequest published;
    published.shape = *find_moe_shape(model);
    published.weights = *find_weight_format(format);
    return static_cast<double>(plan_memory(published).expert_bytes) / (1 << 20);
  };
  CHECK(mib("deepseek-v3", "nvfp4") == doctest::Approx(23.6).epsilon(0.002));
  CHECK(mib("deepseek-v3", "bf16") == 84.0);
  CHECK(mib("gpt-oss-120b", "mxfp4") == doctest::Approx(12.6).epsilon(0.005));
}

TEST_CASE("DeepEP's low-latency buffer") {
  auto const gib = [](std::int64_t tokens) {
    return static_cast<double>(deepep_low_latency_buffer(tokens, 5120, 448).allocated_bytes) / (1 << 30);
  };
  CHECK(gib(2048) == doctest::Approx(35.55).epsilon(0.0002));
  CHECK(gib(1840) == doctest::Approx(31.94).epsilon(0.0002));
  CHECK(deepep_low_latency_buffer(2048, 5120, 448).too_large);
  CHECK_FALSE(deepep_low_latency_buffer(1840, 5120, 448).too_large);
  // hidden 128, 1 token, 3 experts: messages 16 + 256 and 256 + 4; send max(272, 780), receive 816, signals 12 -> 128;
  // 2 * (780 + 816 + 128) = 3448, the next multiple of 128 is 3456.
  DeepEpLowLatencyBuffer const tiny = deepep_low_latency_buffer(1, 128, 3);
  CHECK(tiny.dispatch_message_bytes == 272);
  CHECK(tiny.combine_message_bytes == 260);
  CHECK(tiny.send_bytes == 780);
  CHECK(tiny.receive_bytes == 816);
  CHECK(tiny.signal_bytes == 128);
  CHECK(tiny.layout_bytes == 3448);
  CHECK(tiny.allocated_bytes == 3456);
  CHECK(deepep_low_latency_buffer(0, 128, 0).allocated_bytes == 128);  // a whole multiple still grows by one
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { (void)deepep_low_latency_buffer(1, 2880 + 64 + 1, 8); }),
                 "multiples of 128"));
}

TEST_CASE("a routing counted by hand; never above the worst case") {
  // 4 ranks (EP 2 x TP 2) of 2 tokens, 4 experts, top-2, experts 0 and 1 on EP rank 0.
  std::vector<std::int32_t> const ids = {0, 1, /*rank 0*/ 0, 2, 3, -1, /*rank 1*/ 1, 0,
                                         2, 3, /*rank 2*/ 0, 1, 1, 0,  /*rank 3*/ 1, 3};
  auto const routing = RoutingMap::from_topk(8, 4, 2, ids, std::vector<float>(16, 0.5f));
  RoutedRows const rows = count_routed_rows(routing, {2, 2});
  CHECK(rows.sent == 4);
  CHECK(rows.received == 5);         // EP rank 0: 5 from lane 0 (ranks 0 and 2), 5 from lane 1
  CHECK(rows.expert_rows == 10);     // EP rank 0
  CHECK(rows.sent_tokens == 6);      // rank 0: one token to EP 0, one to both, twice for TP
  CHECK(rows.received_tokens == 6);  // EP rank 0
  CHECK(rows.rows_of_expert == 5);   // experts 0 and 1
  MemoryRequest request = small_request();
  request.shape.experts = 4;
  request.grid = {2, 2};
  request.tokens_per_rank = 2;
  request.routed = rows;
  for (FamilyMemory const& family : plan_memory(request).families)
    for (MemoryBuffer const& buffer : family.buffers) {
      CAPTURE(buffer.name);
      REQUIRE(buffer.bytes.exact.has_value());
      CHECK(*buffer.bytes.exact <= buffer.bytes.worst);
      CHECK(buffer.bytes.expected <= buffer.bytes.worst);
    }
  CHECK(bytes_of(family_of(plan_memory(request), "flex").buffers, "dispatch receive").exact == 6 * 512);
}

TEST_CASE("presets, empty steps, uneven slots, refusals") {
  for (MoeShape const& shape : moe_shape_presets()) {
    MemoryRequest request;
    request.shape = shape;
    request.grid.ep = 7;
    request.tokens_per_rank = 33;
    MemoryPlan const plan = plan_memory(request);
    CHECK(plan.slots_per_rank == (shape.experts + 6) / 7);
    CHECK(plan.deepep.has_value() == (shape.hidden % 128 == 0));
    CHECK(plan.expert_bytes >= 6 * shape.hidden * shape.intermediate);
  }
  MemoryRequest request = small_request();
  request.tokens_per_rank = 0;
  CHECK(bytes_of(family_of(plan_memory(request), "flex").buffers, "dispatch receive").worst == 0);
  request.slots = 7;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { (void)plan_memory(request); }), "slots is 7"));
  request.slots = 12;
  request.routed = RoutedRows{};
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { (void)plan_memory(request); }), "not of 12 slots"));
  request.routed = {};
  request.grid.tp = 3;
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { (void)plan_memory(request); }), "TP size 3"));
  request = small_request();
  request.quant = QuantSpec{QuantScheme::fp8_tensor};
  CHECK(
      contains(error_text(ErrorCode::invalid_argument, [&] { (void)plan_memory(request); }), "one scale for all rows"));
  request = small_request();
  request.tokens_per_rank = std::int64_t{1} << 40;
  request.shape.hidden = 1 << 30;
  CHECK_THROWS_AS((void)plan_memory(request), Error);
}

}  // namespace
