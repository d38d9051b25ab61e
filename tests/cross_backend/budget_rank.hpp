// SPDX-License-Identifier: Apache-2.0
/// BudgetRank: one rank of steps over slots of fixed size, beside core's plan and CpuExecutor.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "budget_case.hpp"
#include "few_cases.hpp"
#include "graph_replay.hpp"
#include "poisoned.hpp"

namespace cross_backend {

class BudgetRank {
 public:
  BudgetRank(PairReport& report, BudgetCase const& given, Communicator& comm, cuda::DeviceCommunicator& device_comm)
      : report_(report),
        case_(given),
        run_(given.run(comm.size())),
        comm_(comm),
        placement_(ExpertPlacement::contiguous(1, given.batch.experts, run_.grid.ep)),
        budget_(device_comm, given.options(comm.size()), placement_, 0),
        cpu_(comm),
        gpu_(device_comm),
        ids_(given.batch.tokens * given.batch.top_k * 4),
        weights_(given.batch.tokens * given.batch.top_k * 4),
        digest_(sizeof(std::uint64_t)) {
    draw(given.batch.seed, given.batch.tokens);
  }

  /// Another batch of at most as many tokens; the routing's place on the device stays. @param bad_rank names an expert
  /// outside the model
  void draw(std::uint64_t seed, int tokens, int bad_rank = -1) {
    case_.batch.seed = seed;
    case_.batch.tokens = tokens;
    part_ = support::rank_batch(case_.batch, run_, comm_.rank().value());
    plan_ = case_.plan(comm_, part_.routing, placement_);
    std::vector<std::int32_t> ids(part_.routing.ids().begin(), part_.routing.ids().end());
    experts_ = ids;
    if (comm_.rank().value() == bad_rank) ids.at(3) = case_.batch.experts;
    ids.resize(static_cast<std::size_t>(ids_.size_bytes()) / sizeof(std::int32_t), -1);
    cuda::copy_to_device(std::as_bytes(std::span(ids)), ids_, stream_);
    std::vector<float> weights = weights_f32();
    weights.resize(static_cast<std::size_t>(weights_.size_bytes()) / sizeof(float));
    cuda::copy_to_device(std::as_bytes(std::span(weights)), weights_, stream_);
    stream_.view().synchronize();
  }

  void plan() {
    gpu_.plan(budget_, {ids_.as<std::int32_t const>(), nullptr, weights_.as<float const>(), part_.count}, stream_);
    budget_.planner().fingerprint(digest_.as<std::uint64_t>(), stream_);
  }

  void compare_plan() {
    std::string const name = case_.name() + " plan";
    report_.compared(1);
    if (!(budget_.planner().download(stream_) == plan_)) report_.failed(name + " is not core's");
    if (cuda::download<std::uint64_t>(digest_, stream_).front() != plan_.fingerprint().value)
      report_.failed(name + ": fingerprint of a kernel");
  }

  /// @return the rows that the CPU's experts see
  template <typename T>
  std::vector<T> dispatch(std::vector<T> const& tokens, std::int64_t hidden) {
    std::vector<T> expected(static_cast<std::size_t>(budget_.expert_rows() * hidden), poison<T>());
    cpu_.dispatch(plan_, host(tokens, part_.count, hidden), host(expected, plan_.num_expert_rows(), hidden));
    auto const in = cuda::upload(tokens, stream_);
    auto const out = poisoned<T>(budget_.expert_rows() * hidden, stream_);
    gpu_.dispatch(budget_, device_matrix<T>(in, part_.count, hidden),
                  device_matrix<T>(out, budget_.expert_rows(), hidden), stream_);
    gpu_.check(budget_, stream_);
    compare_rows("dispatch", hidden, expected,
                 cuda::download<T>(out, stream_));  // rows behind the plan's keep their poison
    expected.resize(static_cast<std::size_t>(plan_.num_expert_rows() * hidden));
    return expected;
  }

  /// The names of tokens, which say what every expert row is.
  std::vector<float> payload() {
    std::vector<float> names;
    for (int token = 0; token < part_.count; ++token) names.push_back(static_cast<float>(1 + part_.first + token));
    return dispatch(names, 1);
  }

  /// What experts return, in f32 with bits that tokens of a narrower dtype have not.
  template <typename T>
  std::vector<float> wide_rows(std::vector<float> const& payload) const {
    auto rows = support::expert_rows<T>(case_.batch, run_, plan_, payload);
    for (float& value : rows) value *= 1.0009765625F;
    return rows;
  }
  template <typename T>
  std::vector<T> narrow_rows(std::vector<float> const& payload) const {
    std::vector<T> rows;
    for (float const value : support::expert_rows<T>(case_.batch, run_, plan_, payload))
      rows.push_back(support::narrowed<T>(value));
    return rows;
  }

  template <typename T>
  void compare_recipes(std::vector<float> const& payload) {
    auto const rows = narrow_rows<T>(payload);
    auto const wide = wide_rows<T>(payload);
    std::vector<T> shared;
    for (int token = 0; token < part_.count; ++token)
      for (std::int64_t column = 0; column < case_.batch.hidden; ++column)
        shared.push_back(support::shared_element<T>(case_.batch, part_.first + token, column));
    for (auto const name : recipe_names())
      for (auto const route : {CombineRoute::automatic, CombineRoute::partials, CombineRoute::rows})
        for (bool const f64 : {false, true}) {
          CombineRecipe const recipe = *parse_recipe(name);
          if (!is_offered(recipe, route)) continue;
          if (f64 && uses_carried(recipe, route)) continue;
          if (takes_few_cases() && f64 != (name == "exact" || name == "source_slot_order")) continue;
          bool const use_shared = f64 || name == "exact_with_shared_expert";
          if (f64)
            combine<T>(recipe, route, f64, wide, shared, use_shared);
          else
            combine<T>(recipe, route, f64, rows, shared, use_shared);
        }
  }

  [[nodiscard]] bool is_offered(CombineRecipe const& recipe, CombineRoute route) const {
    if (!recipe_support(plan_, recipe, route)) return false;
    return route != CombineRoute::rows || sends_partials(plan_, recipe, CombineRoute::automatic);
  }

  /// Whether a combine takes the weights that came with the dispatch.
  [[nodiscard]] bool uses_carried(CombineRecipe const& recipe, CombineRoute route) const {
    return case_.carries_weights && sends_partials(plan_, recipe, route);
  }

  template <typename T, typename Row>
  void combine(CombineRecipe const& recipe, CombineRoute route, bool f64, std::vector<Row> const& rows,
               std::vector<T> const& shared, bool use_shared) {
    std::int64_t const hidden = case_.batch.hidden;
    std::vector<T> expected(static_cast<std::size_t>(part_.count * hidden), poison<T>());
    cpu::CombineInputs inputs;
    inputs.route = route;
    inputs.experts = experts_;
    if (f64)
      inputs.weights_f64 = std::span<double const>(part_.weights);
    else
      inputs.weights = part_.routing.weights();
    if (use_shared) inputs.shared_expert = host(shared, part_.count, hidden);
    bool const use_bias = f64 && case_.tp > 1 && recipe.tp_join == TpJoin::tree_then_row;
    auto const bias = join_bias();
    std::int64_t const locals = plan_.num_local_experts();
    if (use_bias) inputs.join_bias = host(bias, locals, hidden);
    cpu_.combine(plan_, recipe, host(rows, plan_.num_expert_rows(), hidden), inputs,
                 host(expected, part_.count, hidden));

    auto const in = upload_rows(rows);
    auto const weights = f64 ? cuda::upload(part_.weights, stream_) : cuda::upload(weights_f32(), stream_);
    auto const added = cuda::upload(shared, stream_);
    auto const out = poisoned<T>(part_.count * hidden, stream_);
    cuda::CombineInputs device;
    device.route = route;
    if (!uses_carried(recipe, route))
      device.weights = weights.view(f64 ? DType::f64 : DType::f32, {part_.count, plan_.slot_columns});
    if (use_shared) device.shared_expert = device_matrix<T>(added, part_.count, hidden);
    auto const device_bias = cuda::upload(bias, stream_);
    if (use_bias) device.join_bias = device_matrix<float>(device_bias, locals, hidden);
    gpu_.combine(budget_, recipe, device_matrix<Row>(in, budget_.expert_rows(), hidden), device,
                 device_matrix<T>(out, part_.count, hidden), stream_);
    gpu_.check(budget_, stream_);
    compare("combine " + std::string(name_of(recipe)) + (f64 ? " f64" : "") +
                (route == CombineRoute::partials ? " partials" : ""),
            hidden, expected, cuda::download<T>(out, stream_));
  }

  /// The gradient of a dispatch.
  template <typename T>
  void compare_backward(CombineRecipe const& recipe, std::vector<float> const& payload) {
    if (!is_offered(recipe, CombineRoute::automatic)) return;
    std::int64_t const hidden = case_.batch.hidden;
    auto const rows = narrow_rows<T>(payload);
    std::vector<T> expected(static_cast<std::size_t>(part_.count * hidden), poison<T>());
    cpu_.dispatch_backward(plan_, recipe, host(rows, plan_.num_expert_rows(), hidden), experts_,
                           host(expected, part_.count, hidden));
    auto const in = upload_rows(rows);
    auto const out = poisoned<T>(part_.count * hidden, stream_);
    gpu_.dispatch_backward(budget_, recipe, device_matrix<T>(in, budget_.expert_rows(), hidden),
                           device_matrix<T>(out, part_.count, hidden), stream_);
    gpu_.check(budget_, stream_);
    compare("dispatch backward " + std::string(name_of(recipe)), hidden, expected, cuda::download<T>(out, stream_));
  }

  /// The gradients of a combine.
  template <typename T, typename Row>
  void compare_combine_backward(std::vector<Row> const& rows, bool f64) {
    std::int64_t const hidden = case_.batch.hidden;
    std::vector<T> gradients;
    for (int token = 0; token < part_.count; ++token)
      for (std::int64_t column = 0; column < hidden; ++column)
        gradients.push_back(support::shared_element<T>(case_.batch, part_.first + token + 100, column));
    std::vector<T> row_gradients(static_cast<std::size_t>(budget_.expert_rows() * hidden), poison<T>());
    std::vector<float> weight_gradients(part_.routing.weights().size(), -1.0F);
    cpu::CombineInputs inputs;
    if (f64)
      inputs.weights_f64 = std::span<double const>(part_.weights);
    else
      inputs.weights = part_.routing.weights();
    cpu_.combine_backward(plan_, host(gradients, part_.count, hidden), host(rows, plan_.num_expert_rows(), hidden),
                          inputs, host(row_gradients, plan_.num_expert_rows(), hidden), weight_gradients);

    auto const results = upload_rows(rows);
    auto const in = cuda::upload(gradients, stream_);
    auto const weights = f64 ? cuda::upload(part_.weights, stream_) : cuda::upload(weights_f32(), stream_);
    auto const gpu_rows = poisoned<T>(budget_.expert_rows() * hidden, stream_);
    auto const gpu_weights = poisoned<float>(part_.count * plan_.slot_columns, stream_);
    cuda::CombineInputs device;
    device.weights = weights.view(f64 ? DType::f64 : DType::f32, {part_.count, plan_.slot_columns});
    gpu_.combine_backward(budget_, device_matrix<T>(in, part_.count, hidden),
                          device_matrix<Row>(results, budget_.expert_rows(), hidden), device,
                          device_matrix<T>(gpu_rows, budget_.expert_rows(), hidden),
                          device_matrix<float>(gpu_weights, part_.count, plan_.slot_columns), stream_);
    gpu_.check(budget_, stream_);
    compare_rows("row gradients", hidden, row_gradients, cuda::download<T>(gpu_rows, stream_));
    compare("weight gradients", plan_.slot_columns, weight_gradients, cuda::download<float>(gpu_weights, stream_));
  }

  void compare_calls() {
    plan();
    compare_plan();
    auto const names = payload();
    bool const few = takes_few_cases();
    if (!few) compare_recipes<float>(names);
    compare_recipes<bf16_t>(names);
    if (case_.tp == 1 && !few) compare_recipes<f16_t>(names);
    if (!few) compare_backward<bf16_t>(CombineRecipe::source_expert_order(), names);
    compare_backward<bf16_t>(CombineRecipe::rank_partial(), names);
    if (!few) compare_combine_backward<float>(narrow_rows<float>(names), false);
    if (!few) compare_combine_backward<bf16_t>(narrow_rows<bf16_t>(names), true);
    compare_combine_backward<f16_t>(wide_rows<f16_t>(names), false);
    compare_traffic();
  }

  /// The last dispatch and combine moved what options say and needed what the plan says.
  void compare_traffic() {
    auto const traffic = gpu_.traffic(budget_, stream_);
    report_.compared(1);
    bool const is_sound =
        case_.exact_splits ? traffic.moved_bytes == traffic.needed_bytes : traffic.moved_bytes >= traffic.needed_bytes;
    if (!is_sound)
      report_.failed(case_.name() + ": moved " + std::to_string(traffic.moved_bytes) + " bytes for " +
                     std::to_string(traffic.needed_bytes));
  }

  [[nodiscard]] PairReport& report() { return report_; }
  [[nodiscard]] BudgetCase const& given() const { return case_; }
  [[nodiscard]] support::RankBatch const& part() const { return part_; }
  [[nodiscard]] DispatchPlan const& core_plan() const { return plan_; }
  [[nodiscard]] cuda::BudgetPlan const& budget() const { return budget_; }
  [[nodiscard]] cuda::CudaExecutor& gpu() { return gpu_; }
  [[nodiscard]] cpu::CpuExecutor& cpu() { return cpu_; }
  [[nodiscard]] cuda::StreamView stream() const { return stream_; }
  /// Of the present batch, at a fixed place.
  [[nodiscard]] ConstTensorView weights() const {
    return {weights_.data(), DType::f32, {part_.count, case_.batch.top_k}, MemorySpace::device};
  }
  [[nodiscard]] std::vector<float> weights_f32() const {
    return {part_.routing.weights().begin(), part_.routing.weights().end()};
  }
  template <typename T>
  void compare(std::string const& what, std::int64_t columns, std::vector<T> const& cpu, std::vector<T> const& gpu) {
    compare_bits(report_, case_.name() + " " + what, comm_.rank().value(), columns, cpu, gpu);
  }
  /// Rows that experts see.
  template <typename T>
  void compare_rows(std::string const& what, std::int64_t columns, std::vector<T> const& cpu,
                    std::vector<T> const& gpu) {
    compare_bits(report_, case_.name() + " " + what, row_names_->rows(columns), cpu, gpu);
  }
  /// A view of the first rows of a matrix on the host.
  template <typename T>
  static ConstTensorView host(std::vector<T> const& values, std::int64_t rows, std::int64_t columns) {
    return ConstTensorView::matrix(std::span(values).first(static_cast<std::size_t>(rows * columns)), rows, columns);
  }
  template <typename T>
  static TensorView host(std::vector<T>& values, std::int64_t rows, std::int64_t columns) {
    return TensorView::matrix(std::span(values).first(static_cast<std::size_t>(rows * columns)), rows, columns);
  }

 private:
  /// [local experts, hidden] of the experts' second matrix, another for every expert.
  [[nodiscard]] std::vector<float> join_bias() const {
    std::vector<float> bias;
    for (std::int64_t i = 0; i < plan_.num_local_experts() * case_.batch.hidden; ++i)
      bias.push_back(static_cast<float>((plan_.first_slot * 31 + i * 7) % 113) / 32.0F);
    return bias;
  }
  /// Expert rows, poisoned behind the plan's.
  template <typename Row>
  cuda::DeviceBuffer upload_rows(std::vector<Row> rows) const {
    rows.resize(static_cast<std::size_t>(budget_.expert_rows() * case_.batch.hidden), poison<Row>());
    return cuda::upload(rows, stream_);
  }

  PairReport& report_;
  BudgetCase case_;
  RecipeRun run_;
  Communicator& comm_;
  ExpertPlacement placement_;
  support::RankBatch part_;
  DispatchPlan plan_;
  std::vector<std::int32_t> experts_;
  cuda::Stream stream_;
  cuda::BudgetPlan budget_;
  cpu::CpuExecutor cpu_;
  cuda::CudaExecutor gpu_;
  std::optional<ExpertRowNames> row_names_{};
  cuda::DeviceBuffer ids_;
  cuda::DeviceBuffer weights_;
  cuda::DeviceBuffer digest_;
};

}  // namespace cross_backend
