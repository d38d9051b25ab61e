// SPDX-License-Identifier: Apache-2.0
/// The router front end in fp64 and plain loops, written from reference section 2 (scores, groups, weights, losses and
/// their derivatives). It shares no code with what it checks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

namespace oracle {

using Reals = std::vector<double>;

enum class Scores { softmax_pre, softmax_post, sigmoid, sqrt_softplus };
enum class Norm { none, sum, l2 };

struct RouterSetup {
  Scores scores = Scores::softmax_post;
  int top_k = 1;
  int num_groups = 1;
  int group_topk = 1;
  int scores_per_group = 1;
  Norm norm = Norm::none;
  double epsilon = 1e-20;
  double scaling = 1.0;
};

inline Reals softmax(Reals const& z) {
  double const largest = *std::max_element(z.begin(), z.end());
  if (std::isinf(largest)) return Reals(z.size(), 0.0);
  Reals p;
  double sum = 0.0;
  for (double const value : z) p.push_back(std::exp(value - largest));
  for (double const value : p) sum += value;
  for (double& value : p) value /= sum;
  return p;
}

inline double softplus(double z) {
  return z > 0.0 ? z + std::log1p(std::exp(-z)) : std::log1p(std::exp(z));
}

inline double sigmoid(double z) {
  return z > 0.0 ? 1.0 / (1.0 + std::exp(-z)) : std::exp(z) / (1.0 + std::exp(z));
}

inline Reals all_scores(Scores kind, Reals const& z) {
  if (kind == Scores::softmax_pre) return softmax(z);
  Reals s = z;
  for (double& value : s) {
    if (kind == Scores::sigmoid) value = sigmoid(value);
    if (kind == Scores::sqrt_softplus) value = std::sqrt(softplus(value));
  }
  return s;
}

/// Values to be ranked, each with the size of the terms that it is made of.
struct Sized {
  Reals value;
  Reals size;
};

/// Indices by value descending, then index ascending. Notes the smallest difference that is not exactly zero, relative
/// to the sizes: below the error of fp32 scores a comparison could fall either way.
inline std::vector<int> ranked(Sized const& sized, std::vector<int> eligible, double& smallest_gap) {
  auto const value = [&](int index) { return sized.value[static_cast<std::size_t>(index)]; };
  auto const size = [&](int index) { return sized.size[static_cast<std::size_t>(index)]; };
  std::stable_sort(eligible.begin(), eligible.end(), [&](int a, int b) { return value(a) > value(b); });
  for (std::size_t i = 1; i < eligible.size(); ++i) {
    double const gap = value(eligible[i - 1]) - value(eligible[i]);
    double const scale = size(eligible[i - 1]) + size(eligible[i]);
    if (gap > 0.0 && std::isfinite(gap)) smallest_gap = std::min(smallest_gap, gap / scale);
  }
  return eligible;
}

inline std::vector<int> all_indices(int count) {
  std::vector<int> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

/// The experts of the chosen groups.
inline std::vector<int> eligible_experts(RouterSetup const& setup, Reals const& values, double& smallest_gap) {
  int const experts = static_cast<int>(values.size());
  if (setup.num_groups == 1) return all_indices(experts);
  int const size = experts / setup.num_groups;
  Sized group_scores;
  for (int g = 0; g < setup.num_groups; ++g) {
    Reals members(values.begin() + g * size, values.begin() + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    members.resize(static_cast<std::size_t>(setup.scores_per_group));
    group_scores.value.push_back(std::accumulate(members.begin(), members.end(), 0.0));
    for (double& member : members) member = std::fabs(member);
    group_scores.size.push_back(std::accumulate(members.begin(), members.end(), 0.0));
  }
  std::vector<int> groups = ranked(group_scores, all_indices(setup.num_groups), smallest_gap);
  groups.resize(static_cast<std::size_t>(setup.group_topk));
  std::vector<int> eligible;
  for (int e = 0; e < experts; ++e)
    if (std::find(groups.begin(), groups.end(), e / size) != groups.end()) eligible.push_back(e);
  return eligible;
}

inline double norm_of(Norm kind, Reals const& s) {
  double total = 0.0;
  for (double const value : s) total += kind == Norm::sum ? value : value * value;
  return kind == Norm::sum ? total : std::sqrt(total);
}

/// One token's choice in order, with weights.
struct Routed {
  std::vector<int> experts;
  Reals weights;
  double smallest_gap = std::numeric_limits<double>::infinity();
};

/// The scores of the chosen experts before normalising.
inline Reals chosen_scores(RouterSetup const& setup, Reals const& z, std::vector<int> const& experts) {
  Reals const s = all_scores(setup.scores, z);
  Reals out;
  for (int const e : experts) out.push_back(s[static_cast<std::size_t>(e)]);
  return setup.scores == Scores::softmax_post ? softmax(out) : out;
}

/// @param z logits, no NaN; @param bias [experts] or empty
inline Routed route(RouterSetup const& setup, Reals const& z, Reals const& bias) {
  Sized scores{all_scores(setup.scores, z), {}};
  for (double const score : scores.value) scores.size.push_back(std::fabs(score));
  for (std::size_t e = 0; e < bias.size(); ++e) {
    scores.value[e] += bias[e];
    scores.size[e] += std::fabs(bias[e]);
  }
  Routed out;
  out.experts = ranked(scores, eligible_experts(setup, scores.value, out.smallest_gap), out.smallest_gap);
  out.experts.resize(static_cast<std::size_t>(setup.top_k));
  out.weights = chosen_scores(setup, z, out.experts);
  if (setup.norm != Norm::none && setup.top_k > 1) {
    double const divisor = norm_of(setup.norm, out.weights) + setup.epsilon;
    for (double& w : out.weights) w = divisor == 0.0 ? w : w / divisor;
  }
  for (double& w : out.weights) w *= setup.scaling;
  return out;
}

/// A gradient and the sum of the absolute values of all terms that went into each entry: its rounding errors are a few
/// last places of that.
struct Gradient {
  Reals value;
  Reals size;
};

/// Applies y_i = a_i * (g_i - sum_j g_j b_j) to value and size.
inline Gradient centred(Gradient const& g, Reals const& a, Reals const& b) {
  double mean = 0.0;
  double mean_size = 0.0;
  for (std::size_t j = 0; j < b.size(); ++j) {
    mean += g.value[j] * b[j];
    mean_size += g.size[j] * std::fabs(b[j]);
  }
  Gradient out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out.value.push_back(a[i] * (g.value[i] - mean));
    out.size.push_back(std::fabs(a[i]) * (g.size[i] + mean_size));
  }
  return out;
}

/// Through v = s / (norm(s) + epsilon).
inline Gradient through_norm(Norm kind, Reals const& s, double epsilon, Gradient const& g) {
  if (kind == Norm::none) return g;
  double const norm = norm_of(kind, s);
  double const divisor = norm + epsilon;
  double inner = 0.0;
  double inner_size = 0.0;
  for (std::size_t j = 0; j < s.size(); ++j) {
    inner += g.value[j] * s[j] / divisor;
    inner_size += g.size[j] * s[j] / divisor;
  }
  Gradient out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    double const slope = kind == Norm::sum || norm == 0.0 ? 1.0 : s[i] / norm;
    out.value.push_back((g.value[i] - inner * slope) / divisor);
    out.size.push_back((g.size[i] + inner_size * slope) / divisor);
  }
  return out;
}

inline double slope(Scores kind, double z) {
  if (kind == Scores::sigmoid) return sigmoid(z) * sigmoid(-z);
  double const score = std::sqrt(softplus(z));
  return score == 0.0 ? 0.0 : sigmoid(z) / (2.0 * score);
}

/// d loss / d logits of one token from d loss / d weights.
inline Gradient route_gradient(RouterSetup const& setup, Reals const& z, std::vector<int> const& experts,
                               Reals const& d_weights) {
  Reals const s = chosen_scores(setup, z, experts);
  Gradient g;
  for (double const d : d_weights) {
    g.value.push_back(d * setup.scaling);
    g.size.push_back(std::fabs(d * setup.scaling));
  }
  g = through_norm(setup.top_k > 1 ? setup.norm : Norm::none, s, setup.epsilon, g);
  if (setup.scores == Scores::softmax_post) g = centred(g, s, s);
  Gradient out{Reals(z.size(), 0.0), Reals(z.size(), 0.0)};
  for (std::size_t k = 0; k < experts.size(); ++k) {
    auto const e = static_cast<std::size_t>(experts[k]);
    bool const softmaxed = setup.scores == Scores::softmax_post || setup.scores == Scores::softmax_pre;
    double const factor = softmaxed ? 1.0 : slope(setup.scores, z[e]);
    out.value[e] = g.value[k] * factor;
    out.size[e] = g.size[k] * factor;
  }
  if (setup.scores != Scores::softmax_pre) return out;
  Reals const p = softmax(z);
  return centred(out, p, p);
}

/// The scores of the balance losses: softmax, or the others divided by their sum.
inline Reals loss_scores(Scores kind, Reals const& z) {
  if (kind == Scores::softmax_pre || kind == Scores::softmax_post) return softmax(z);
  Reals s = all_scores(kind, z);
  double const sum = norm_of(Norm::sum, s) + 1e-20;
  for (double& value : s) value /= sum;
  return s;
}

/// d loss / d logits of one token when d loss / d score is g.
inline Gradient loss_score_gradient(Scores kind, Reals const& z, Reals const& g) {
  Gradient at_scores{g, g};
  for (double& value : at_scores.size) value = std::fabs(value);
  if (kind == Scores::softmax_pre || kind == Scores::softmax_post) {
    Reals const p = softmax(z);
    return centred(at_scores, p, p);
  }
  Gradient out = through_norm(Norm::sum, all_scores(kind, z), 1e-20, at_scores);
  for (std::size_t e = 0; e < z.size(); ++e) {
    out.value[e] *= slope(kind, z[e]);
    out.size[e] *= slope(kind, z[e]);
  }
  return out;
}

inline double log_sum_exp(Reals const& z) {
  double const largest = *std::max_element(z.begin(), z.end());
  double sum = 0.0;
  for (double const value : z) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

}  // namespace oracle
