// SPDX-License-Identifier: Apache-2.0
#include "rebalance_run.hpp"

#include "switchyard/internal/require.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace switchyard::cpu {

void RebalanceRun::join(RebalanceSubject const& subject, Communicator& comm, RegisteredWeights const& weights) {
  int const layers = subject.before.num_layers();
  group = view_of_group(subject.before.num_ranks(), subject.dead_ranks, comm.size(), comm.rank(), subject.name);
  SWITCHYARD_REQUIRE(weights.num_layers() == layers, shape_mismatch,
                     "the {} has {} layers, rank {} registered weights of {}", subject.name, layers, group.me.value(),
                     weights.num_layers());
  int const slots = subject.before.layout().slots_of(group.me);
  for (int layer = 0; layer < layers; ++layer)
    SWITCHYARD_REQUIRE(weights.num_rows(layer) == slots, shape_mismatch,
                       "rank {} has {} slots in the {}, but its tensors of layer {} have {} rows", group.me.value(),
                       slots, subject.name, layer, weights.num_rows(layer));
  FingerprintBuilder digest;
  digest.add(1, static_cast<std::int64_t>(subject.fingerprint));
  digest.add(2, static_cast<std::int64_t>(weights.shape_fingerprint().value));
  digest.add(3, static_cast<std::int64_t>(options.mode));
  digest.add(4, static_cast<std::int64_t>(options.verify_rows));
  for (std::size_t i = 0; i < options.dead_ranks.size(); ++i) digest.add_at(5, i, options.dead_ranks[i].value());
  agreement = digest.result().value;
}

void RebalanceRun::acknowledge(Communicator& comm, std::string const& operation, int layer) {
  step(RebalanceStepKind::acknowledge, layer);
  comm.barrier(call(operation));
}

}  // namespace switchyard::cpu
