// SPDX-License-Identifier: Apache-2.0
/// Plans a rebalance from expert loads: policy, transfer plan, proof, and what each GPU would send.
///
/// Two layers of 12 experts on 8 GPUs of 2 nodes with 16 slots: the example of the DeepSeek EPLB README.
#include <exception>
#include <iostream>
#include <vector>

#include "switchyard/io/plan_json.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"

namespace sy = switchyard;

namespace {

sy::ExpertLoad readme_load() {
  std::vector<double> const tokens{90, 132, 40,  61, 104, 165, 39,  4,   73,  56, 183, 86,  //
                                   20, 107, 104, 64, 19,  197, 187, 157, 172, 86, 16,  27};
  return {/*num_steps=*/1, /*num_layers=*/2, /*num_experts=*/12, tokens};
}

void print_placement(sy::ExpertPlacement const& placement, int layer) {
  for (int rank = 0; rank < placement.num_ranks(); ++rank) {
    std::cout << (rank == 0 ? " " : " |");
    for (sy::ExpertId const expert : placement.rank_slots(layer, sy::RankId(rank))) std::cout << ' ' << expert.value();
  }
  std::cout << '\n';
}

void run() {
  sy::ExpertLoad const load = readme_load();
  sy::PolicyRequest const request{.num_ranks = 8, .num_slots = 16, .num_nodes = 2, .num_groups = 4};
  auto const before = sy::ExpertPlacement::trivial(2, 12, sy::SlotLayout::uniform(8, 2));
  auto const after = sy::make_policy("deepseek")->place(load, request);
  auto const plan = sy::plan_rebalance(before, after);
  sy::require_valid(plan);

  auto const was = sy::measure_imbalance(load, before);
  auto const is = sy::measure_imbalance(load, after);
  for (int layer = 0; layer < 2; ++layer) {
    auto const index = static_cast<std::size_t>(layer);
    std::cout << "layer " << layer << ": PAR " << was.layers[index].par << " -> " << is.layers[index].par << '\n';
    print_placement(after, layer);
    for (std::size_t rank = 0; rank < plan.layers[index].ranks.size(); ++rank) {
      for (sy::ExpertSend const& send : plan.layers[index].ranks[rank].sends) {
        std::cout << "  rank " << rank << " sends expert " << send.expert.value() << " to rank " << send.to.value()
                  << '\n';
      }
    }
  }
  std::cout << "plan fingerprint " << plan.fingerprint().to_hex() << ", " << sy::io::to_json(plan).size()
            << " bytes of JSON\n";
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (std::exception const& error) {
    std::cerr << "example failed: " << error.what() << '\n';
    return 1;
  }
}
