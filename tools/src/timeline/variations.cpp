// SPDX-License-Identifier: Apache-2.0
#include "timeline/variations.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <exception>
#include <thread>

namespace switchyard::cli {
namespace {

struct Knob {
  std::string name;
  std::function<TimingBasis(TimingBasis, double factor)> turn;
};

void scale(sim::CostCurve& curve, double factor) {
  for (sim::Measurement& knot : curve.knots) knot.us *= factor;
}

TimingBasis scale_alltoall(TimingBasis basis, double factor) {
  for (auto& curve : basis.costs.alltoall) scale(curve.fit.curve, factor);
  return basis;
}

TimingBasis scale_experts(TimingBasis basis, double factor) {
  basis.costs.experts->launch_us *= factor;
  basis.costs.experts->tile_us *= factor;
  scale(basis.costs.experts->per_expert, factor);
  return basis;
}

bool stands_in_curves(std::string const& name) {
  constexpr std::array names{"intra_node.gpu_gb_per_s", "intra_node.peer_gb_per_s", "intra_node.latency_us",
                             "intra_node.message_us"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

struct WorkConstant {
  char const* name;
  double WorkTimes::*member;
};
constexpr std::array kWorkConstants{WorkConstant{"attention_us", &WorkTimes::attention_us},
                                    WorkConstant{"shared_expert_us", &WorkTimes::shared_expert_us},
                                    WorkConstant{"row_ns", &WorkTimes::row_ns},
                                    WorkConstant{"sm_share", &WorkTimes::sm_share}};

std::vector<Knob> knobs_of(TimingBasis const& basis) {
  std::vector<Knob> knobs;
  for (auto const& [name, value] : sim::constants_of(basis.cluster)) {
    if (!basis.costs.alltoall.empty() && stands_in_curves(name)) continue;
    knobs.push_back({name, [name = name, value = value](TimingBasis one, double factor) {
                       one.cluster = sim::with_constant(one.cluster, name, value * factor);
                       return one;
                     }});
  }
  if (!basis.costs.alltoall.empty()) knobs.push_back({"costs.alltoall_us", scale_alltoall});
  if (basis.costs.experts) knobs.push_back({"costs.expert_kernel_us", scale_experts});
  if (basis.costs.experts && basis.costs.experts->sms > 0 && basis.cluster.sms_per_gpu > 0)
    knobs.push_back({std::string(kSmConstant), [](TimingBasis one, double factor) {
                       one.cluster.sms_per_gpu *= factor;
                       return one;
                     }});
  for (auto const& [name, member] : kWorkConstants)
    if (basis.work.*member != 0)
      knobs.push_back({name, [member = member](TimingBasis one, double factor) {
                         one.work.*member *= factor;
                         return one;
                       }});
  return knobs;
}

/// Runs `count` jobs, each for its own output; the first exception by number is thrown again.
void run_jobs(std::size_t count, int workers, std::function<void(std::size_t)> const& job) {
  std::vector<std::exception_ptr> errors(count);
  std::atomic<std::size_t> next{0};
  auto const work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        job(i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    auto const threads_wanted = workers > 0 ? static_cast<std::size_t>(workers) : std::thread::hardware_concurrency();
    for (std::size_t i = 1; i < std::min<std::size_t>(count, threads_wanted); ++i) threads.emplace_back(work);
    work();
  }
  for (auto const& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace

std::vector<Variation> vary(TimingBasis const& basis,
                            std::function<std::vector<double>(TimingBasis const&)> const& time) {
  auto const knobs = knobs_of(basis);
  std::vector<Variation> variations;
  for (Knob const& knob : knobs) variations.push_back({knob.name, {}, {}});
  run_jobs(2 * knobs.size(), basis.workers, [&](std::size_t i) {
    bool const lower = i % 2 == 0;
    auto us = time(knobs[i / 2].turn(basis, lower ? 1 - kVariation : 1 + kVariation));
    (lower ? variations[i / 2].lower_us : variations[i / 2].higher_us) = std::move(us);
  });
  return variations;
}

bool matters(Variation const& variation, std::size_t index, double us) {
  double const change = std::max(std::abs(variation.lower_us[index] - us), std::abs(variation.higher_us[index] - us));
  return change >= kMatters * us && change > 0;
}

}  // namespace switchyard::cli
