# SPDX-License-Identifier: Apache-2.0
# Tables of docs/scoreboard.md: a plain program, because it reports quality first and times second.
add_executable(scoreboard scoreboard.cpp scoreboard_case.cpp)
target_link_libraries(scoreboard PRIVATE switchyard::core)
switchyard_target_defaults(scoreboard)
switchyard_use_internals(scoreboard)
