// SPDX-License-Identifier: Apache-2.0
/// StepRank: one rank of steps by StepExecutor, and what core and CpuExecutor make of the same step.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "executor_cases.hpp"
#include "poisoned.hpp"
#include "switchyard/cuda/step_executor.hpp"

namespace cross_backend {

struct StepCase {
  Dispatcher dispatcher = Dispatcher::flex;
  CombineRecipe recipe = CombineRecipe::rank_partial();
  cuda::StepPlanning planning = cuda::StepPlanning::device;
  std::int64_t hidden = 64;
  int tp = 1;
  bool exact_splits = false;
  bool use_shared = false;
  std::int64_t max_expert_rows = 0;  ///< 0: as many as can come

  [[nodiscard]] RecipeRun run(int ranks) const {
    RecipeRun run;
    run.grid = {tp, ranks / tp};
    run.dispatcher = dispatcher;
    return run;
  }
  [[nodiscard]] RecipeBatch batch(std::uint64_t seed) const {
    RecipeBatch batch;
    batch.seed = seed;
    batch.hidden = hidden;
    return batch;
  }
  [[nodiscard]] std::string name() const {
    return std::string(support::name_of(dispatcher)) + " " + std::string(name_of(recipe)) + " tp" + std::to_string(tp) +
           (planning == cuda::StepPlanning::device ? " planned on the device" : " planned on the host") +
           (exact_splits ? " exact splits" : "") + " hidden " + std::to_string(hidden);
  }
  [[nodiscard]] DispatchFamily family() const {
    if (dispatcher == Dispatcher::flex) return DispatchFamily::megatron_flex;
    if (dispatcher == Dispatcher::allgather) return DispatchFamily::megatron_allgather;
    return run(1).is_megablocks() ? DispatchFamily::megablocks : DispatchFamily::megatron_alltoall;
  }
  [[nodiscard]] cuda::StepOptions options(int ranks, DType dtype) const {
    RecipeBatch const shape = batch(0);
    cuda::StepOptions options;
    options.planner.family = family();
    options.planner.grid = run(ranks).grid;
    options.planner.row_order = dispatcher == Dispatcher::alltoall_tp_major ? RowOrder::tp_major : RowOrder::rank_major;
    options.planner.columns = shape.top_k;
    options.planner.max_tokens = shape.tokens;
    options.planner.max_expert_rows = max_expert_rows;
    options.planning = planning;
    options.recipe = recipe;
    options.dtype = dtype;
    options.hidden = hidden;
    options.exact_splits = exact_splits;
    options.setup_deadline = std::chrono::seconds(20);
    return options;
  }
};

/// One rank's executor, with the batch of a step on the device.
template <typename T>
class StepRank {
 public:
  StepRank(PairReport& report, StepCase const& given, cuda::StepExecutor::Group group, cuda::StepOptions const& options)
      : report_(report),
        case_(given),
        run_(given.run(group.host.size())),
        comm_(group.host),
        placement_(ExpertPlacement::contiguous(1, given.batch(0).experts, run_.grid.ep)),
        steps_(group, options, placement_, 0),
        cpu_(group.host),
        ids_(poisoned<std::int32_t>(options.planner.max_tokens * options.planner.columns, stream_)),
        weights_(poisoned<float>(options.planner.max_tokens * options.planner.columns, stream_)) {
    name_ = given.name() + " by " + std::string(to_string(steps_.path()));
  }

  /// Draws the routing, the tokens and the experts' results of a step. @param bad_rank names an expert outside the
  /// model
  void draw(std::uint64_t seed, int bad_rank = -1) {
    batch_ = case_.batch(seed);
    part_ = support::rank_batch(batch_, run_, comm_.rank().value());
    plan_ = support::plan_of(run_, comm_, part_.routing, placement_);
    experts_.assign(part_.routing.ids().begin(), part_.routing.ids().end());
    host_weights_.assign(part_.routing.weights().begin(), part_.routing.weights().end());
    std::vector<std::int32_t> ids = experts_;
    if (comm_.rank().value() == bad_rank) ids.at(3) = batch_.experts;
    place(ids, ids_);
    place(host_weights_, weights_);
    tokens_.clear();
    shared_.clear();
    for (int token = 0; token < part_.count; ++token)
      for (std::int64_t column = 0; column < case_.hidden; ++column) {
        tokens_.push_back(support::shared_element<T>(batch_, part_.first + token + 500, column));
        shared_.push_back(support::shared_element<T>(batch_, part_.first + token, column));
      }
    on_device_ = cuda::upload(tokens_, stream_);
    shared_on_device_ = cuda::upload(shared_, stream_);
  }

  void plan() {
    auto const count = static_cast<std::int64_t>(part_.count);
    if (case_.planning == cuda::StepPlanning::device)
      return steps_.plan({ids_.template as<std::int32_t const>(), nullptr, weights_.template as<float const>(), count},
                         stream_);
    ConstTensorView const weights(weights_.data(), DType::f32, {count, plan_.slot_columns}, MemorySpace::device);
    steps_.plan(plan_, weights, stream_, experts_);
  }
  /// Outputs of the step's shape, poisoned, and what a combine reads. After plan().
  void make_outputs() {
    results_ = results();
    results_.resize(static_cast<std::size_t>(steps_.expert_rows() * case_.hidden), poison<T>());
    results_on_device_ = cuda::upload(results_, stream_);
    rows_ = poisoned<T>(steps_.expert_rows() * case_.hidden, stream_);
    out_ = poisoned<T>(part_.count * case_.hidden, stream_);
  }
  void dispatch_and_combine() {
    steps_.dispatch(device_matrix<T>(on_device_, part_.count, case_.hidden), matrix_of_rows(rows_), stream_);
    cuda::StepExtras extras;
    if (case_.use_shared) extras.shared_expert = device_matrix<T>(shared_on_device_, part_.count, case_.hidden);
    steps_.combine(matrix_of_rows(results_on_device_), device_matrix<T>(out_, part_.count, case_.hidden), stream_,
                   extras);
  }
  void step() {
    plan();
    make_outputs();
    dispatch_and_combine();
  }

  /// Rows, tokens and counts beside core's plan and CpuExecutor's bytes.
  void compare(std::string const& what) {
    steps_.check(stream_);
    compare_counts(what);
    auto const width = static_cast<std::size_t>(case_.hidden);
    auto const count = static_cast<std::size_t>(plan_.num_expert_rows()) * width;
    std::vector<T> expected(count, poison<T>());
    cpu_.dispatch(plan_, host(tokens_, part_.count), host(expected, plan_.num_expert_rows()));
    auto rows = cuda::download<T>(rows_, stream_);
    rows.resize(count);
    ExpertRowNames const names(cpu_, plan_, &placement_);
    compare_bits(report_, name_ + what + " dispatch", names.rows(case_.hidden), expected, rows);

    std::vector<T> combined(tokens_.size(), poison<T>());
    cpu::CombineInputs inputs;
    inputs.experts = experts_;
    inputs.weights = host_weights_;
    if (case_.use_shared) inputs.shared_expert = host(std::as_const(shared_), part_.count);
    std::vector<T> used = results_;
    used.resize(count);
    cpu_.combine(plan_, case_.recipe, host(std::as_const(used), plan_.num_expert_rows()), inputs,
                 host(combined, part_.count));
    compare_bits(report_, name_ + what + " combine", comm_.rank().value(), case_.hidden, combined,
                 cuda::download<T>(out_, stream_));
  }

  /// Zeros everywhere and an error. @return its code
  std::optional<ErrorCode> failed(std::string const& what) {
    std::optional<ErrorCode> code;
    try {
      steps_.check(stream_);
    } catch (Error const& error) {
      code = error.code();
    }
    auto const rows = cuda::download<T>(rows_, stream_);
    auto const out = cuda::download<T>(out_, stream_);
    compare_bits(report_, name_ + what + " rows", comm_.rank().value(), case_.hidden, std::vector<T>(rows.size()),
                 rows);
    compare_bits(report_, name_ + what + " tokens", comm_.rank().value(), case_.hidden, std::vector<T>(out.size()),
                 out);
    return code;
  }

  [[nodiscard]] cuda::StepExecutor& steps() { return steps_; }
  [[nodiscard]] cuda::StreamView stream() const { return stream_; }
  [[nodiscard]] std::string const& name() const { return name_; }

 private:
  void compare_counts(std::string const& what) {
    cuda::StepCounts const counts = steps_.counts();
    auto const& expected = plan_.tokens_per_local_expert;
    std::vector<std::int64_t> found(expected.size() + 1, -1);
    bool ok = cudaMemcpy(found.data(), counts.expert_rows, sizeof(std::int64_t), cudaMemcpyDeviceToHost) == cudaSuccess;
    ok = ok && cudaMemcpy(found.data() + 1, counts.rows_per_expert, expected.size() * sizeof(std::int64_t),
                          cudaMemcpyDeviceToHost) == cudaSuccess;
    if (!ok) throw Error(ErrorCode::cuda, name_ + ": counts cannot be read");
    std::vector<std::int64_t> all{plan_.num_expert_rows()};
    all.insert(all.end(), expected.begin(), expected.end());
    compare_bits(report_, name_ + what + " counts", comm_.rank().value(), 1, all, found);
  }

  /// What this rank's experts give, without rows behind the plan's.
  std::vector<T> results() {
    std::vector<float> names;
    for (int token = 0; token < part_.count; ++token) names.push_back(static_cast<float>(1 + part_.first + token));
    std::vector<float> payload(static_cast<std::size_t>(plan_.num_expert_rows()));
    cpu_.dispatch(plan_, ConstTensorView::matrix(std::span<float const>(names), part_.count, 1),
                  TensorView::matrix(std::span(payload), plan_.num_expert_rows(), 1));
    std::vector<T> rows;
    for (float const value : support::expert_rows<T>(batch_, run_, plan_, payload))
      rows.push_back(support::narrowed<T>(value));
    return rows;
  }
  template <typename V>
  void place(std::vector<V> values, cuda::DeviceBuffer const& where) {
    values.resize(static_cast<std::size_t>(where.size_bytes()) / sizeof(V));
    cuda::copy_to_device(std::as_bytes(std::span(values)), where, stream_);
    stream_.view().synchronize();
  }
  [[nodiscard]] TensorView matrix_of_rows(cuda::DeviceBuffer const& buffer) {
    return device_matrix<T>(buffer, steps_.expert_rows(), case_.hidden);
  }
  [[nodiscard]] ConstTensorView host(std::vector<T> const& values, std::int64_t rows) const {
    return ConstTensorView::matrix(std::span<T const>(values), rows, case_.hidden);
  }
  [[nodiscard]] TensorView host(std::vector<T>& values, std::int64_t rows) const {
    return TensorView::matrix(std::span(values), rows, case_.hidden);
  }

  PairReport& report_;
  StepCase case_;
  RecipeRun run_;
  Communicator& comm_;
  ExpertPlacement placement_;
  cuda::Stream stream_;
  cuda::StepExecutor steps_;
  cpu::CpuExecutor cpu_;
  cuda::DeviceBuffer ids_;
  cuda::DeviceBuffer weights_;
  std::string name_;
  RecipeBatch batch_;
  support::RankBatch part_;
  DispatchPlan plan_;
  std::vector<std::int32_t> experts_;
  std::vector<float> host_weights_;
  std::vector<T> tokens_;
  std::vector<T> shared_;
  std::vector<T> results_;
  cuda::DeviceBuffer on_device_;
  cuda::DeviceBuffer shared_on_device_;
  cuda::DeviceBuffer results_on_device_;
  cuda::DeviceBuffer rows_;
  cuda::DeviceBuffer out_;
};

}  // namespace cross_backend
