// SPDX-License-Identifier: Apache-2.0
// bench_stages(): plan, permute, exchange, sort, unpermute and combine of one plan.
//
// permute: tokens to the rows that are sent. exchange: these rows over NCCL, own ones left out. sort: arrived rows to
// expert-major ones. unpermute: experts' rows to those that travel back; Flex adds partial sums here. combine: arrived
// rows to tokens. Bytes: every row read once plus the rows written.
#include <numeric>

#include "rank_bench.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/cuda/sums.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header
using Indices = std::vector<std::int64_t>;

/// One rank's stages: lists, rows and where samples go.
class Stages {
 public:
  Stages(RankBench& bench, DispatchPlan const& plan)
      : bench_(bench),
        plan_(plan),
        is_flex_(plan.setup.family == DispatchFamily::megatron_flex),
        source_(std::get<RowGather>(plan.stages.front())),
        arrived_(sum_of(exchange_of(plan).receive_rows)),
        most_rows_(std::max({plan.num_tokens, sent(), arrived_, plan.num_expert_rows(), std::int64_t{1}})),
        from_(most_rows_ * kRowBytes),
        to_(most_rows_ * kRowBytes) {
    cuda::fill_bytes(from_, 0x3c, bench.stream);
  }

  void plan(RoutingMap const& routing, ExpertPlacement const& placement) {
    cuda::DevicePlannerConfig config;
    config.family = plan_.setup.family;
    config.grid = plan_.setup.grid;
    config.row_order = plan_.setup.row_order;
    config.columns = kTopK;
    config.max_tokens = std::max<std::int64_t>(routing.num_tokens(), 1);
    cuda::DevicePlanner planner(config, plan_.rank, placement, 0);
    auto const ids = cuda::upload(Indices32(routing.ids().begin(), routing.ids().end()), bench_.stream);
    hand_in("plan", 0, 0, bench_.sample([&] {
      planner.assign({ids.as<std::int32_t const>(), nullptr, nullptr, routing.num_tokens()}, bench_.stream);
      planner.exchange(bench_.bare, bench_.stream);
      planner.plan(bench_.stream);
    }));
    planner.check(bench_.stream);
  }

  void permute() { gather("permute", source_.token_of_row, plan_.num_tokens); }

  void exchange(Wire const& wire) {
    bench_.board.hand_in({name("exchange"), fields(), wire.bytes, 1, wire.copies_us, wire.nccl_us});
  }

  void sort() {
    if (auto const* chunks = plan_.find<ChunkSort>()) return gather("sort", rows_of(*chunks), arrived_);
    if (is_flex_) gather("sort", expansion().token_of_row, arrived_);
  }

  void unpermute() {
    if (auto const* chunks = plan_.find<ChunkSort>())
      return gather("unpermute", rows_of(inverse_of(*chunks)), arrived_);
    if (is_flex_) add_rows("unpermute", cuda::SumStep::fp32_product, expansion(), arrived_);
  }

  void combine() {
    add_rows("combine", is_flex_ ? cuda::SumStep::join_f32 : cuda::SumStep::fp32_product, source_, plan_.num_tokens);
  }

 private:
  using Indices32 = std::vector<std::int32_t>;

  static std::int64_t sum_of(Indices const& rows) { return std::accumulate(rows.begin(), rows.end(), std::int64_t{0}); }
  [[nodiscard]] std::int64_t sent() const { return static_cast<std::int64_t>(source_.token_of_row.size()); }
  [[nodiscard]] RowGather const& expansion() const { return std::get<RowGather>(plan_.stages.back()); }
  [[nodiscard]] std::string name(char const* stage) const {
    return std::string("stage ") + stage + (is_flex_ ? " flex T=" : " alltoall T=") + std::to_string(plan_.num_tokens);
  }
  [[nodiscard]] Fields fields() const {
    return {{"tokens", static_cast<double>(plan_.num_tokens)}, {"ranks", static_cast<double>(bench_.checked.size())}};
  }
  void hand_in(char const* stage, double bytes, double floor_us, std::vector<double> const& samples) {
    bench_.board.hand_in({name(stage), fields(), bytes, 0, floor_us, samples});
  }

  /// Input rows in the order of a sort's output.
  static Indices rows_of(ChunkSort const& sort) {
    Indices first(sort.sizes.size());
    std::exclusive_scan(sort.sizes.begin(), sort.sizes.end(), first.begin(), std::int64_t{0});
    Indices rows;
    for (std::int64_t const chunk : sort.order) {
      auto const at = static_cast<std::size_t>(chunk);
      for (std::int64_t i = 0; i < sort.sizes[at]; ++i) rows.push_back(first[at] + i);
    }
    return rows;
  }

  /// @return how long a device copy takes that reads and writes `bytes` together; median
  double copy_us(double bytes) {
    std::int64_t const half = static_cast<std::int64_t>(bytes) / 2;
    cuda::DeviceBuffer const from(half);
    cuda::DeviceBuffer const to(half);
    return median(bench_.sample([&] { cuda::copy_device(from, to, bench_.stream); }, kBurst));
  }

  void measure(char const* stage, std::int64_t rows, std::function<void()> const& work) {
    auto const bytes = static_cast<double>(rows * kRowBytes);
    double const floor = copy_us(bytes);
    hand_in(stage, bytes, floor, bench_.sample(work, kBurst));
  }

  void gather(char const* stage, Indices const& rows, std::int64_t inputs) {
    auto const map = cuda::upload(Indices32(rows.begin(), rows.end()), bench_.stream);
    auto const count = static_cast<std::int64_t>(rows.size());
    cuda::GatherRowsParams params{from_.data(), to_.data(), nullptr, count, kRowBytes};
    params.map32 = map.as<std::int32_t const>();
    measure(stage, inputs + count, [&] { cuda::launch_gather_rows(params, bench_.stream); });
  }

  /// The inverse of a gather: sums over the rows of each of its inputs.
  void add_rows(char const* stage, cuda::SumStep step, RowGather const& stage_rows, std::int64_t sums) {
    auto const begin = cuda::upload(stage_rows.row_begin, bench_.stream);
    auto const rows = cuda::upload(stage_rows.rows_of_token, bench_.stream);
    auto const terms = static_cast<std::int64_t>(stage_rows.rows_of_token.size());
    auto const weights = cuda::upload(std::vector<float>(stage_rows.rows_of_token.size(), 0.125F), bench_.stream);
    cuda::SumRowsParams const params{from_.data(),
                                     DType::bf16,
                                     to_.data(),
                                     DType::bf16,
                                     begin.as<std::int64_t const>(),
                                     rows.as<std::int64_t const>(),
                                     step == cuda::SumStep::join_f32 ? nullptr : weights.data(),
                                     sums,
                                     kHidden};
    measure(stage, terms + sums, [&] { cuda::launch_sum_rows(step, params, bench_.stream); });
  }

  RankBench& bench_;
  DispatchPlan const& plan_;
  bool is_flex_;
  RowGather const& source_;
  std::int64_t arrived_;
  std::int64_t most_rows_;
  cuda::DeviceBuffer from_;
  cuda::DeviceBuffer to_;
};

}  // namespace

void bench_stages(RankBench& bench, DispatchPlan const& plan, RoutingMap const& routing,
                  ExpertPlacement const& placement, Wire const& wire) {
  Stages stages(bench, plan);
  stages.plan(routing, placement);
  stages.permute();
  stages.exchange(wire);
  stages.sort();
  stages.unpermute();
  stages.combine();
}

}  // namespace gpu_bench
