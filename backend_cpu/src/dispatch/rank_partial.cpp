// SPDX-License-Identifier: Apache-2.0
// Recipes that sum at the experts' rank: the weights travel with the rows, one partial per (rank, token) comes back.
//
// Works on any plan whose stages are "carry one row per (rank, token)", then an expansion to the local experts:
// AllGather (a gather over the world, none for one rank) and Flex (a gather, an exchange). The carrying stages run once
// more on the weights; the partials go the same way back. With a TP join every rank of an expert holds the same joined
// rows, and a token's partials come from the ranks of its source's own lane, so that no expert counts twice.
#include <cstddef>
#include <type_traits>
#include <utility>

#include "by_dtype.hpp"
#include "combine_recipes.hpp"
#include "join_bias.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/recipes_exact.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

using internal::PartialPath;

bool exchanges(StageContext const& context, CombineRecipe const& recipe, std::size_t peer) {
  return internal::exchanges_partials(context.plan, recipe.tp_join, RankId{static_cast<std::int32_t>(peer)});
}

/// The rows of all stages before the expansion, of any content.
ConstRows carry(StageContext const& context, ConstRows current, PartialBuffers& buffers) {
  auto const& stages = context.plan.stages;
  for (std::size_t i = 0; i + 1 < stages.size(); ++i) {
    Rows const out = buffers.weights[i % 2].rows(output_rows(stages[i]), current.row_bytes);
    if (auto const* gather = std::get_if<RowGather>(&stages[i])) permute(context, *gather, current, out);
    if (auto const* gathered = std::get_if<GroupGather>(&stages[i])) group_gather(context, *gathered, current, out);
    if (auto const* moved = std::get_if<RowExchange>(&stages[i]))
      exchange(context, *moved, "combine weights", current, out);
    current = out;
  }
  return current;
}

/// The experts' results in the row dtype, on every TP rank: the partials are joined in shares, the shares gathered.
ConstRows expert_results(StageContext const& context, CombineRecipe const& recipe, ConstRows in, DType in_dtype,
                         DType dtype, CombineInputs const& inputs, PartialBuffers& buffers) {
  std::int64_t const row_bytes = context.hidden * size_of(dtype);
  if (recipe.tp_join == TpJoin::tree_then_row && context.plan.setup.grid.tp > 1) {
    GroupGather const share = internal::share_of_rows(context.plan, in.count);
    Rows const joined = buffers.joined.rows(share.own_rows, row_bytes);
    JoinBias bias(context, inputs);
    bias.follow(context, share);
    tp_reduce(context, share, in, in_dtype, joined, dtype, buffers.widened, buffers.received, bias);
    Rows const all = buffers.rows.rows(in.count, row_bytes);
    group_gather(context, share, joined, all);
    return all;
  }
  if (in_dtype == dtype) return in;
  Rows const rounded = buffers.rows.rows(in.count, row_bytes);
  round_rows(context, in, rounded, dtype);
  return rounded;
}

/// Blocks of partials to the ranks that the tokens came from.
void return_partials(StageContext const& context, CombineRecipe const& recipe, PartialPath const& path, ConstRows held,
                     Rows returned) {
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  std::size_t sent = 0;
  std::size_t received = 0;
  for (std::size_t rank = 0; rank < path.held.size(); ++rank) {
    RankId const peer{static_cast<std::int32_t>(rank)};
    std::size_t const send_bytes = to_size(path.held[rank] * held.row_bytes);
    std::size_t const receive_bytes = to_size(path.returned[rank] * returned.row_bytes);
    if (exchanges(context, recipe, rank)) {
      sends.push_back({peer, held.bytes().subspan(sent, send_bytes)});
      receives.push_back({peer, returned.bytes().subspan(received, receive_bytes)});
    }
    sent += send_bytes;
    received += receive_bytes;
  }
  context.comm.exchange(sends, receives, {"combine partials", context.configuration, context.deadline});
}

/// A token's rows, or its partials, as both sums read them.
struct TermRange {
  std::int64_t const* rows;
  std::int64_t count;
};

/// fp32 sums of a rank, rounded to the wire: the loops of the active instruction set.
template <typename T, typename WireType>
struct Fp32Sums {
  using Weight = float;
  using Wire = WireType;
  static void partial(ElementKernels const& kernels, T const* rows, std::int64_t hidden, TermRange terms,
                      float const* weights, Wire* out) {
    SumToken sum = kernels.sum_products;
    if constexpr (!std::is_same_v<Wire, T>)
      sum = std::is_same_v<Wire, float> ? kernels.partial_f32 : kernels.partial_bf16;
    sum({rows, hidden, terms.rows, weights, terms.count, nullptr, out});
  }
  static void join(ElementKernels const& kernels, Wire const* partials, std::int64_t hidden, TermRange terms, T const*,
                   T* out) {
    SumToken sum = kernels.join_rows;
    if constexpr (!std::is_same_v<Wire, T>) sum = std::is_same_v<Wire, float> ? kernels.join_f32 : kernels.join_bf16;
    sum({partials, hidden, terms.rows, nullptr, terms.count, nullptr, out});
  }
};

template <typename T>
struct Fp64Sums {
  using Weight = double;
  using Wire = double;
  static void partial(ElementKernels const&, T const* rows, std::int64_t hidden, TermRange terms, double const* weights,
                      double* out) {
    hd::combine_row<T, double, hd::Fp64Product>(rows, hidden, hidden, terms.rows, weights, terms.count, out);
  }
  static void join(ElementKernels const&, double const* partials, std::int64_t hidden, TermRange terms, T const*,
                   T* out) {
    hd::combine_row<double, T, hd::JoinPartials<double>>(partials, hidden, hidden, terms.rows, nullptr, terms.count,
                                                         out);
  }
};

/// Wide accumulators on the wire: nothing is rounded before the last step.
template <typename T, typename WeightType>
struct ExactSums {
  using Weight = WeightType;
  using Wire = hd::ExactSumState<Weight, T>;
  static void partial(ElementKernels const&, T const* rows, std::int64_t hidden, TermRange terms, Weight const* weights,
                      Wire* out) {
    for (std::int64_t c = 0; c < hidden; ++c)
      out[c] = hd::exact_partial_element<Weight>(rows, hidden, c, terms.rows, weights, terms.count);
  }
  static void join(ElementKernels const&, Wire const* partials, std::int64_t hidden, TermRange terms, T const* shared,
                   T* out) {
    for (std::int64_t c = 0; c < hidden; ++c)
      out[c] = hd::exact_join_element<T, Weight, T>(partials, hidden, c, terms.rows, terms.count,
                                                    shared == nullptr ? nullptr : shared + c);
  }
};

/// The weights of the expansion's rows, in the order of its lists. @param carried [inputs, slot_columns]
template <typename Weight>
std::vector<Weight> weights_of_expansion(RowGather const& expansion, Weight const* carried, std::int64_t columns) {
  std::vector<Weight> weights;
  weights.reserve(expansion.rows_of_token.size());
  for (std::int64_t const row : expansion.rows_of_token) {
    std::int64_t const input = expansion.token_of_row[to_size(row)];
    weights.push_back(carried[input * columns + expansion.slot_of_row[to_size(row)]]);
  }
  return weights;
}

/// One call of sum_over_ranks with all types known.
template <typename T, typename Sums>
class RankSum {
 public:
  using Weight = typename Sums::Weight;
  using Wire = typename Sums::Wire;

  RankSum(StageContext const& context, CombineRecipe const& recipe, PartialBuffers& buffers)
      : context_(context),
        recipe_(recipe),
        buffers_(buffers),
        kernels_(kernels_of(context.kernels, dtype_of<T>::value)),
        path_(internal::partial_path(context.plan, recipe.tp_join)) {}

  void run(ConstRows results, std::span<Weight const> weights, T const* shared, T* out) {
    auto const& plan = context_.plan;
    auto const& expansion = std::get<RowGather>(plan.stages.back());
    std::int64_t const weight_bytes = plan.slot_columns * static_cast<std::int64_t>(sizeof(Weight));
    ConstRows const own{reinterpret_cast<std::byte const*>(weights.data()), plan.num_tokens, weight_bytes};
    ConstRows const carried = carry(context_, own, buffers_);
    auto const row_weights =
        weights_of_expansion(expansion, reinterpret_cast<Weight const*>(carried.data), plan.slot_columns);
    Rows const partials = buffers_.partials.rows(input_rows(expansion), wire_bytes());
    add_own_experts(expansion, results, row_weights, reinterpret_cast<Wire*>(partials.data));
    Rows const returned = buffers_.received.rows(total(path_.returned), wire_bytes());
    return_partials(context_, recipe_, path_, partials, returned);
    add_ranks(reinterpret_cast<Wire const*>(returned.data), shared, out);
  }

 private:
  [[nodiscard]] std::int64_t wire_bytes() const { return context_.hidden * static_cast<std::int64_t>(sizeof(Wire)); }

  static std::int64_t total(std::vector<std::int64_t> const& counts) {
    std::int64_t sum = 0;
    for (std::int64_t const count : counts) sum += count;
    return sum;
  }

  void add_own_experts(RowGather const& expansion, ConstRows results, std::vector<Weight> const& weights,
                       Wire* partials) {
    std::int64_t begin = 0;
    for (std::size_t rank = 0; rank < path_.held.size(); ++rank) {
      std::int64_t const first = std::exchange(begin, begin + path_.held[rank]);
      if (!exchanges(context_, recipe_, rank)) continue;
      for_items(path_.held[rank], wire_bytes(), [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t input = first + from; input < first + to; ++input) {
          std::int64_t const term = expansion.row_begin[to_size(input)];
          TermRange const terms{expansion.rows_of_token.data() + term, expansion.row_begin[to_size(input) + 1] - term};
          Sums::partial(kernels_, reinterpret_cast<T const*>(results.data), context_.hidden, terms,
                        weights.data() + term, partials + input * context_.hidden);
        }
      });
    }
  }

  void add_ranks(Wire const* returned, T const* shared, T* out) {
    for_items(context_.plan.num_tokens, wire_bytes(), [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t token = from; token < to; ++token) {
        std::int64_t const term = path_.begin[to_size(token)];
        TermRange const terms{path_.partials.data() + term, path_.begin[to_size(token) + 1] - term};
        Sums::join(kernels_, returned, context_.hidden, terms,
                   shared == nullptr ? nullptr : shared + token * context_.hidden, out + token * context_.hidden);
      }
    });
  }

  StageContext const& context_;
  CombineRecipe const& recipe_;
  PartialBuffers& buffers_;
  ElementKernels const& kernels_;
  PartialPath path_;
};

template <typename T>
void sum_rows_of(T, StageContext const& context, CombineRecipe const& recipe, ConstRows results,
                 CombineInputs const& inputs, T* out, PartialBuffers& buffers) {
  bool const doubles = inputs.weights_f64.has_value();
  if (recipe.accumulate == Rounding::none) {
    bool const is_term = recipe.shared_expert == SharedExpert::as_term && inputs.shared_expert.has_value();
    T const* const shared = is_term ? static_cast<T const*>(inputs.shared_expert->data()) : nullptr;
    if (doubles)
      return RankSum<T, ExactSums<T, double>>(context, recipe, buffers).run(results, *inputs.weights_f64, shared, out);
    return RankSum<T, ExactSums<T, float>>(context, recipe, buffers).run(results, inputs.weights, shared, out);
  }
  if (recipe.product == Rounding::promoted && doubles)
    return RankSum<T, Fp64Sums<T>>(context, recipe, buffers).run(results, *inputs.weights_f64, nullptr, out);
  std::vector<float> const rounded = doubles ? rounded_weights(*inputs.weights_f64) : std::vector<float>{};
  std::span<float const> const weights = doubles ? std::span<float const>(rounded) : inputs.weights;
  if (recipe.partial == Rounding::row)
    return RankSum<T, Fp32Sums<T, T>>(context, recipe, buffers).run(results, weights, nullptr, out);
  if (recipe.partial == Rounding::bf16)
    return RankSum<T, Fp32Sums<T, bf16_t>>(context, recipe, buffers).run(results, weights, nullptr, out);
  RankSum<T, Fp32Sums<T, float>>(context, recipe, buffers).run(results, weights, nullptr, out);
}

}  // namespace

void sum_over_ranks(StageContext const& context, CombineRecipe const& recipe, ConstRows expert_rows, DType in_dtype,
                    DType dtype, CombineInputs const& inputs, std::byte* out, PartialBuffers& buffers) {
  auto const& source = std::get<RowGather>(return_path(context.plan).front());
  static_cast<void>(float_weights(context.plan, source, inputs));  // refuses wrong sizes and NaNs where they are known
  ConstRows const results = expert_results(context, recipe, expert_rows, in_dtype, dtype, inputs, buffers);
  by_dtype(dtype, [&](auto zero) {
    sum_rows_of(zero, context, recipe, results, inputs, reinterpret_cast<decltype(zero)*>(out), buffers);
  });
}

}  // namespace switchyard::cpu
