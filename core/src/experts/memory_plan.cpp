// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/memory_plan.hpp"

#include <algorithm>

#include "memory_rows.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

constexpr std::int64_t kMegaBlocksRows = 128;  // of a block of its sparse products
constexpr int kLargestCount = 1 << 24;

/// A request with what follows from it.
struct Setting {
  MemoryRequest const& request;
  RowSetting rows;
  ExpertMlp mlp;  ///< of the TP rank with most units
  std::int64_t row_bytes = 0;
  std::int64_t wire_bytes = 0;
};

void require_range(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max) {
  SWITCHYARD_REQUIRE(value >= min && value <= max, invalid_argument, "{} is {}: it must be in [{}, {}]", field, value,
                     min, max);
}

int slots_of(MemoryRequest const& request) {
  return request.slots == 0 ? request.shape.experts : request.slots;
}

void validate(MemoryRequest const& request) {
  MoeShape const& shape = request.shape;
  require_range("experts", shape.experts, 1, kLargestCount);
  require_range("top-k", shape.top_k, 1, shape.experts);
  require_range("layers", shape.layers, 1, kLargestCount);
  require_range("shared experts", shape.shared_experts, 0, kLargestCount);
  require_range("EP size", request.grid.ep, 1, kLargestCount);
  require_range("slots", slots_of(request), shape.experts, kLargestCount);
  require_range("tokens per rank", request.tokens_per_rank, 0, std::int64_t{1} << 40);
  require_range("spare rows", request.spare_rows, 0, kLargestCount);
  SWITCHYARD_REQUIRE(!request.quant || request.quant->scales_per_row(), invalid_argument,
                     "quantisation {} has one scale for all rows: nothing travels with a row; choose one with scales "
                     "per row",
                     to_string(request.quant->scheme));
  SWITCHYARD_REQUIRE(!request.routed || slots_of(request) == shape.experts, invalid_argument,
                     "exact rows are those of {} experts without replicas, not of {} slots: leave one of both out",
                     shape.experts, slots_of(request));
}

/// The expert MLP of the TP rank whose slice of the intermediate dimension is largest.
ExpertMlp widest_slice(MemoryRequest const& request, std::int64_t slots_per_rank) {
  ExpertMlp widest;
  widest.hidden = request.shape.hidden;
  widest.intermediate = request.shape.intermediate;
  widest.num_local_experts = static_cast<int>(slots_per_rank);
  widest.dtype = request.dtype;
  widest.activation.layout = request.shape.gated ? GateLayout::split : GateLayout::plain;
  widest.tp.size = request.grid.tp;
  widest.validate();
  ExpertMlp other = widest;
  for (other.tp.rank = 1; other.tp.rank < other.tp.size; ++other.tp.rank)
    if (other.local_units() > widest.local_units()) widest = other;
  return widest;
}

Setting setting_of(MemoryRequest const& request) {
  validate(request);
  std::int64_t const slots = slots_of(request);
  std::int64_t const slots_per_rank = (slots + request.grid.ep - 1) / request.grid.ep;
  Setting setting{request, {}, widest_slice(request, slots_per_rank), 0, 0};
  setting.rows = {request.tokens_per_rank, request.grid.ep, request.grid.tp, request.shape.top_k, slots,
                  slots_per_rank,          request.routed};
  setting.row_bytes = checked_mul(request.shape.hidden, size_of(request.dtype));
  setting.wire_bytes = setting.row_bytes;
  if (request.quant) {
    QuantSizes const sizes = quant_sizes(request.quant->layout(), 1, request.shape.hidden);
    setting.wire_bytes = checked_add(sizes.code_bytes, sizes.scale_bytes);
  }
  return setting;
}

MemoryAmount operator*(MemoryAmount const& rows, std::int64_t bytes) {
  MemoryAmount product{checked_mul(rows.expected, bytes), checked_mul(rows.worst, bytes), {}};
  if (rows.exact) product.exact = checked_mul(*rows.exact, bytes);
  return product;
}

MemoryAmount operator+(MemoryAmount const& a, MemoryAmount const& b) {
  MemoryAmount sum{checked_add(a.expected, b.expected), checked_add(a.worst, b.worst), {}};
  if (a.exact && b.exact) sum.exact = checked_add(*a.exact, *b.exact);
  return sum;
}

MemoryAmount total_of(RowSetting const& rows, std::vector<MemoryBuffer> const& buffers) {
  MemoryAmount sum = fixed_rows(rows, 0);
  for (MemoryBuffer const& buffer : buffers) sum = sum + buffer.bytes;
  return sum;
}

/// Collects buffers of rows; `what` says in words how many rows there are.
class BufferList {
 public:
  explicit BufferList(Setting const& setting) : setting_(setting) {}

  void fixed(std::string name, std::int64_t bytes, std::string formula) {
    buffers_.push_back({std::move(name), fixed_rows(setting_.rows, bytes), std::move(formula)});
  }
  /// Rows of `row_bytes` each.
  void rows(std::string name, MemoryAmount const& count, std::string const& what, std::int64_t row_bytes) {
    buffers_.push_back({std::move(name), count * row_bytes, fmt::format("{}, {} bytes each", what, row_bytes)});
  }
  /// As they travel.
  void wire(std::string name, MemoryAmount const& count, std::string const& what) {
    rows(std::move(name), count, what, setting_.wire_bytes);
  }
  /// As experts return them.
  void values(std::string name, MemoryAmount const& count, std::string const& what) {
    rows(std::move(name), count, what, setting_.row_bytes);
  }
  void result() { values("combined tokens", fixed_rows(setting_.rows, setting_.rows.tokens), "tokens of the rank"); }
  [[nodiscard]] std::vector<MemoryBuffer> take() { return std::move(buffers_); }

 private:
  Setting const& setting_;
  std::vector<MemoryBuffer> buffers_{};
};

constexpr char kChosen[] = "tokens x top-k";
constexpr char kReceived[] = "EP x tokens x min(top-k, slots per rank)";
constexpr char kExpertRows[] = "EP x TP x tokens x min(top-k, slots per rank)";
constexpr char kAllTokens[] = "EP x TP x tokens";
constexpr char kSentTokens[] = "tokens x TP x min(top-k, EP): one per destination";

std::vector<MemoryBuffer> allgather_buffers(Setting const& setting) {
  BufferList list(setting);
  MemoryAmount const all = fixed_rows(setting.rows, checked_mul(setting.rows.tokens, setting.rows.world()));
  constexpr std::int64_t kMapAndProbability = 1 + 4;
  list.wire("gathered tokens", all, kAllTokens);
  list.rows("gathered routing", all, "EP x TP x tokens of (map byte, f32 probability) x experts",
            kMapAndProbability * setting.request.shape.experts);
  list.wire("permuted rows", expert_rows(setting.rows), kExpertRows);
  list.values("expert outputs", expert_rows(setting.rows), kExpertRows);
  list.values("sums to scatter", all, kAllTokens);
  list.result();
  return list.take();
}

std::vector<MemoryBuffer> alltoall_buffers(Setting const& setting) {
  BufferList list(setting);
  list.wire("dispatch send", chosen_rows(setting.rows), kChosen);
  list.wire("dispatch receive", received_rows(setting.rows), kReceived);
  if (setting.rows.tp > 1) list.wire("gathered over TP", expert_rows(setting.rows), kExpertRows);
  list.wire("rows by expert", expert_rows(setting.rows), kExpertRows);
  list.values("expert outputs", expert_rows(setting.rows), kExpertRows);
  list.values("combine send", received_rows(setting.rows), kReceived);
  list.values("combine receive", chosen_rows(setting.rows), kChosen);
  list.result();
  return list.take();
}

std::vector<MemoryBuffer> flex_buffers(Setting const& setting) {
  BufferList list(setting);
  list.wire("dispatch send", sent_tokens(setting.rows), kSentTokens);
  list.wire("dispatch receive", received_tokens(setting.rows), kAllTokens);
  list.wire("rows by expert", expert_rows(setting.rows), kExpertRows);
  list.values("expert outputs", expert_rows(setting.rows), kExpertRows);
  list.values("combine send", received_tokens(setting.rows), kAllTokens);
  list.values("combine receive", sent_tokens(setting.rows), kSentTokens);
  list.result();
  return list.take();
}

std::vector<MemoryBuffer> megablocks_buffers(Setting const& setting) {
  BufferList list(setting);
  std::int64_t const padding = checked_mul(setting.rows.slots_per_rank, kMegaBlocksRows - 1);
  MemoryAmount const padded = expert_rows(setting.rows) + fixed_rows(setting.rows, padding);
  std::string const what = fmt::format("{} + {} per slot, the most that blocks add", kReceived, kMegaBlocksRows - 1);
  list.wire("dispatch send", chosen_rows(setting.rows), kChosen);
  list.wire("dispatch receive", received_rows(setting.rows), kReceived);
  list.wire("padded rows", padded, what);
  list.values("expert outputs", padded, what);
  list.values("combine send", received_rows(setting.rows), kReceived);
  list.values("combine receive", chosen_rows(setting.rows), kChosen);
  list.result();
  return list.take();
}

std::vector<MemoryBuffer> low_latency_buffers(Setting const& setting,
                                              std::optional<DeepEpLowLatencyBuffer> const& deepep) {
  BufferList list(setting);
  std::int64_t const tokens = checked_mul(setting.rows.tokens, setting.rows.world());
  MemoryAmount const batched = fixed_rows(setting.rows, checked_mul(setting.rows.slots_per_rank, tokens));
  constexpr char kBatched[] = "slots per rank x EP x TP x tokens";
  if (deepep)
    list.fixed("DeepEP low-latency buffer", deepep->allocated_bytes,
               fmt::format("2 x (send {} + receive {} + signals {})", deepep->send_bytes, deepep->receive_bytes,
                           deepep->signal_bytes));
  list.wire("batched rows", batched, kBatched);
  list.values("expert outputs", batched, kBatched);
  list.result();
  return list.take();
}

std::int64_t expert_bytes(Setting const& setting) {
  WeightFormat const& format = setting.request.weights;
  ExpertMlp const& mlp = setting.mlp;
  std::int64_t bytes = checked_add(format.matrix_bytes(mlp.first_layer_outputs(), mlp.hidden),
                                   format.matrix_bytes(mlp.hidden, mlp.local_units()));
  if (setting.request.shape.biases)
    bytes = checked_add(bytes, checked_mul(mlp.first_layer_outputs() + mlp.hidden, size_of(setting.request.dtype)));
  return bytes;
}

std::vector<MemoryBuffer> weight_buffers(Setting const& setting, std::int64_t of_expert) {
  MoeShape const& shape = setting.request.shape;
  BufferList list(setting);
  list.fixed("expert weights", checked_mul(checked_mul(setting.rows.slots_per_rank, of_expert), shape.layers),
             fmt::format("{} slots x {} layers x {} bytes", setting.rows.slots_per_rank, shape.layers, of_expert));
  if (shape.shared_experts > 0)
    list.fixed("shared experts", checked_mul(checked_mul(shape.shared_experts, of_expert), shape.layers),
               fmt::format("{} x {} layers x {} bytes", shape.shared_experts, shape.layers, of_expert));
  return list.take();
}

std::vector<MemoryBuffer> workspace_buffers(Setting const& setting) {
  Experts const* const engine = setting.request.engine;
  if (engine == nullptr) return {};
  MemoryAmount bytes = rows_of_expert(setting.rows);
  std::string const formula = fmt::format("engine '{}': its own count for the rows of the busiest expert, {} at worst",
                                          engine->name(), bytes.worst);
  bytes.expected = engine->workspace_bytes(bytes.expected);
  bytes.worst = engine->workspace_bytes(bytes.worst);
  if (bytes.exact) bytes.exact = engine->workspace_bytes(*bytes.exact);
  return {{"expert workspace", bytes, formula}};
}

std::vector<MemoryBuffer> staging_buffers(Setting const& setting, std::int64_t of_expert) {
  BufferList list(setting);
  list.fixed("transfer buffer (buffered)", checked_mul(setting.rows.slots_per_rank, of_expert),
             fmt::format("{} slots of one layer x {} bytes", setting.rows.slots_per_rank, of_expert));
  list.fixed("spare rows (in place)", checked_mul(setting.request.spare_rows, of_expert),
             fmt::format("{} of one layer x {} bytes", setting.request.spare_rows, of_expert));
  return list.take();
}

/// Workspaces of vLLM's Triton experts in elements of the row dtype: act_out = I / TP, N = outputs of the first layer.
std::vector<MemoryBuffer> peer_workspaces(Setting const& setting) {
  BufferList list(setting);
  ExpertMlp const& mlp = setting.mlp;
  std::int64_t const element = size_of(setting.request.dtype);
  std::int64_t const wide = std::max(mlp.first_layer_outputs(), mlp.hidden) * element;
  std::int64_t const narrow = std::max(mlp.local_units(), mlp.hidden) * element;
  MemoryAmount const standard = received_tokens(setting.rows) * setting.rows.top_k;
  MemoryAmount const batched = fixed_rows(
      setting.rows, checked_mul(checked_mul(setting.rows.slots_per_rank, setting.rows.tokens), setting.rows.world()));
  list.rows("Triton, workspace13", standard, "received tokens x top-k, max(I/TP, H)", narrow);
  list.rows("Triton, workspace2", standard, "received tokens x top-k, max(N, H)", wide);
  list.rows("batched Triton, workspace13", batched, "slots per rank x EP x TP x tokens, max(N, H)", wide);
  list.rows("batched Triton, workspace2", batched, "slots per rank x EP x TP x tokens, I/TP",
            mlp.local_units() * element);
  return list.take();
}

MemoryAmount common_total(Setting const& setting, MemoryPlan const& plan) {
  MemoryAmount sum = total_of(setting.rows, plan.weights) + total_of(setting.rows, plan.workspace);
  if (setting.request.staging == RebalanceStaging::none) return sum;
  return sum + plan.staging[setting.request.staging == RebalanceStaging::buffered ? 0 : 1].bytes;
}

}  // namespace

MemoryPlan plan_memory(MemoryRequest const& request) {
  Setting const setting = setting_of(request);
  MemoryPlan plan;
  plan.slots_per_rank = static_cast<int>(setting.rows.slots_per_rank);
  plan.expert_bytes = expert_bytes(setting);
  plan.row_bytes = setting.row_bytes;
  plan.wire_row_bytes = setting.wire_bytes;
  plan.weights = weight_buffers(setting, plan.expert_bytes);
  plan.workspace = workspace_buffers(setting);
  plan.staging = staging_buffers(setting, plan.expert_bytes);
  plan.peer_workspaces = peer_workspaces(setting);
  if (request.shape.hidden % 128 == 0)
    plan.deepep = deepep_low_latency_buffer(request.tokens_per_rank, request.shape.hidden, slots_of(request));
  plan.families.push_back({"allgather", allgather_buffers(setting), {}});
  plan.families.push_back({"alltoall", alltoall_buffers(setting), {}});
  plan.families.push_back({"flex", flex_buffers(setting), {}});
  if (request.grid.tp == 1) plan.families.push_back({"megablocks", megablocks_buffers(setting), {}});
  plan.families.push_back({"low_latency", low_latency_buffers(setting, plan.deepep), {}});
  MemoryAmount const common = common_total(setting, plan);
  for (FamilyMemory& family : plan.families) family.total = common + total_of(setting.rows, family.buffers);
  return plan;
}

}  // namespace switchyard
