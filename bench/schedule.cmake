# SPDX-License-Identifier: Apache-2.0
# Tables of docs/rebalance.md: rounds, bounds and planning times of schedules; its own main.
add_executable(schedule_table schedule_table.cpp)
target_link_libraries(schedule_table PRIVATE switchyard::core switchyard::sim)
switchyard_target_defaults(schedule_table)
