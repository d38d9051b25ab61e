// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/instruction_set.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <string>

#include "row_kernels.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::array kAllSets = {InstructionSet::baseline, InstructionSet::x86_64_v2, InstructionSet::x86_64_v3,
                                 InstructionSet::x86_64_v4};

/// -1 = not forced, else the enumerator.
std::atomic<int> forced_set{-1};

#if defined(SWITCHYARD_X86_TARGETS)
/// The features that tell the levels apart on every processor sold; the others of a level come with them.
bool machine_has(InstructionSet set) {
  switch (set) {
    case InstructionSet::baseline: return true;
    case InstructionSet::x86_64_v2:
      return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("popcnt") != 0;
    case InstructionSet::x86_64_v3:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
             __builtin_cpu_supports("bmi") != 0 && __builtin_cpu_supports("bmi2") != 0;
    case InstructionSet::x86_64_v4:
      return machine_has(InstructionSet::x86_64_v3) && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512cd") != 0 &&
             __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  }
  return false;
}
#else
bool machine_has(InstructionSet set) {
  return set == InstructionSet::baseline;
}
#endif

std::string available_names() {
  std::string names;
  for (InstructionSet const set : available_instruction_sets()) {
    if (!names.empty()) names += ", ";
    names += to_string(set);
  }
  return names;
}

void require_available(InstructionSet set) {
  SWITCHYARD_REQUIRE(machine_has(set), unsupported, "instruction set {} is not available here: choose one of {}",
                     to_string(set), available_names());
}

/// Read once: the environment belongs to the process, and reading it on every call would race with a setenv.
InstructionSet default_set() {
  char const* const name = std::getenv("SWITCHYARD_CPU_TARGET");  // NOLINT(concurrency-mt-unsafe)
  if (name == nullptr || *name == '\0') return available_instruction_sets().back();
  auto const set = parse_instruction_set(name);
  SWITCHYARD_REQUIRE(set.has_value(), invalid_argument, "SWITCHYARD_CPU_TARGET is \"{}\": choose one of {}", name,
                     available_names());
  require_available(*set);
  return *set;
}

}  // namespace

std::string_view to_string(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::baseline: return "baseline";
    case InstructionSet::x86_64_v2: return "x86-64-v2";
    case InstructionSet::x86_64_v3: return "x86-64-v3";
    case InstructionSet::x86_64_v4: return "x86-64-v4";
  }
  return "unknown";
}

std::optional<InstructionSet> parse_instruction_set(std::string_view name) noexcept {
  for (InstructionSet const set : kAllSets)
    if (to_string(set) == name) return set;
  return std::nullopt;
}

std::vector<InstructionSet> available_instruction_sets() {
  std::vector<InstructionSet> sets;
  std::copy_if(kAllSets.begin(), kAllSets.end(), std::back_inserter(sets), machine_has);
  return sets;
}

InstructionSet active_instruction_set() {
  int const forced = forced_set.load();
  if (forced >= 0) return static_cast<InstructionSet>(forced);
  static InstructionSet const chosen = default_set();
  return chosen;
}

void force_instruction_set(std::optional<InstructionSet> set) {
  if (set) require_available(*set);
  forced_set.store(set ? static_cast<int>(*set) : -1);
}

RowKernels const& active_row_kernels() {
  switch (active_instruction_set()) {
#if defined(SWITCHYARD_X86_TARGETS)
    case InstructionSet::x86_64_v2: return x86_64_v2::kRowKernels;
    case InstructionSet::x86_64_v3: return x86_64_v3::kRowKernels;
    case InstructionSet::x86_64_v4: return x86_64_v4::kRowKernels;
#endif
    default: return baseline::kRowKernels;
  }
}

ElementKernels const& kernels_of(RowKernels const& kernels, DType dtype) {
  SWITCHYARD_REQUIRE(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, unsupported,
                     "rows of dtype {}: dispatch moves f32, bf16 and f16", to_string(dtype));
  if (dtype == DType::f32) return kernels.f32;
  return dtype == DType::bf16 ? kernels.bf16 : kernels.f16;
}

}  // namespace switchyard::cpu
