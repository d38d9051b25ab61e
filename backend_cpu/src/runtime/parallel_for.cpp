// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/parallel_for.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "switchyard/hd/float_env.hpp"
#include "switchyard/internal/require.hpp"

#if defined(SWITCHYARD_PARALLEL_TBB)
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif

namespace switchyard::cpu {
namespace {

std::atomic<int> configured_workers{0};

#if !defined(SWITCHYARD_PARALLEL_TBB)
/// Workers pull ranges of `grain` items from a shared counter.
void run_on_threads(std::int64_t count, std::int64_t grain, int workers,
                    std::function<void(std::int64_t, std::int64_t)> const& body) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_failure;
  auto const work = [&] {
    hd::FloatEnvGuard const float_env;
    for (std::int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain)) {
      try {
        body(begin, std::min(begin + grain, count));
      } catch (...) {
        std::lock_guard const lock(mutex);
        if (!first_failure) first_failure = std::current_exception();
        next.store(count);
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < workers; ++i) threads.emplace_back(work);
    work();
  }
  if (first_failure) std::rethrow_exception(first_failure);
}
#endif

}  // namespace

void set_worker_count(int workers) {
  SWITCHYARD_REQUIRE(workers >= 0, invalid_argument, "worker count {} is negative: use 0 for all cores", workers);
  configured_workers.store(workers);
}

int worker_count() {
  int const configured = configured_workers.load();
  return configured > 0 ? configured : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::int64_t count, std::int64_t grain, std::function<void(std::int64_t, std::int64_t)> const& body) {
  SWITCHYARD_REQUIRE(grain >= 1, invalid_argument, "parallel_for grain {} is below 1", grain);
  if (count <= 0) return;
  int const workers = worker_count();
  if (workers == 1 || count <= grain) {
    hd::FloatEnvGuard const float_env;
    body(0, count);
    return;
  }
#if defined(SWITCHYARD_PARALLEL_TBB)
  // More workers than cores (tests) must be allowed explicitly, or oneTBB prints a warning.
  std::optional<tbb::global_control> allowed;
  if (workers > static_cast<int>(std::thread::hardware_concurrency()))
    allowed.emplace(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(workers));
  tbb::task_arena arena(workers);
  arena.execute([&] {
    tbb::parallel_for(tbb::blocked_range<std::int64_t>(0, count, static_cast<std::size_t>(grain)),
                      [&](tbb::blocked_range<std::int64_t> const& range) {
                        hd::FloatEnvGuard const float_env;
                        body(range.begin(), range.end());
                      });
  });
#else
  run_on_threads(count, grain, workers, body);
#endif
}

}  // namespace switchyard::cpu
