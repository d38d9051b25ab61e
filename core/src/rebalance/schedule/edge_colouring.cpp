// SPDX-License-Identifier: Apache-2.0
#include "edge_colouring.hpp"

#include <algorithm>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::rebalance {
namespace {

constexpr int kNoEdge = -1;

/// Vertices of both sides in one numbering: left ones first.
class Colouring {
 public:
  Colouring(std::span<BipartiteEdge const> edges, int num_left, int num_right, int num_colours)
      : edges_(edges),
        num_left_(num_left),
        num_colours_(num_colours),
        at_(to_size(num_left + num_right) * to_size(num_colours), kNoEdge),
        colour_(edges.size(), -1) {
    for (int edge = 0; edge < static_cast<int>(edges_.size()); ++edge) insert(edge);
  }

  /// Takes edges from the fullest colour into the emptiest until no colour is above the limit.
  void even_out(int limit) {
    std::vector<int> sizes(to_size(num_colours_), 0);
    for (int const colour : colour_) ++sizes[to_size(colour)];
    for (;;) {
      auto const most = std::max_element(sizes.begin(), sizes.end());
      auto const least = std::min_element(sizes.begin(), sizes.end());
      if (sizes.empty() || *most <= limit) return;
      move_one(static_cast<int>(most - sizes.begin()), static_cast<int>(least - sizes.begin()));
      --*most;
      ++*least;
    }
  }

  std::vector<int> take() { return std::move(colour_); }

 private:
  [[nodiscard]] int left(int edge) const { return edges_[to_size(edge)].left; }
  [[nodiscard]] int right(int edge) const { return num_left_ + edges_[to_size(edge)].right; }
  [[nodiscard]] int other_end(int edge, int vertex) const { return left(edge) == vertex ? right(edge) : left(edge); }
  int& at(int vertex, int colour) { return at_[to_size(vertex) * to_size(num_colours_) + to_size(colour)]; }

  int free_colour(int vertex) {
    int colour = 0;
    while (at(vertex, colour) != kNoEdge) ++colour;
    return colour;
  }

  void insert(int edge) {
    int const wanted = free_colour(left(edge));
    int const blocked = at(right(edge), wanted);
    // The path of the two colours that starts at the right end never comes to the left end: it would arrive by
    // `wanted`.
    if (blocked != kNoEdge) swap_path(right(edge), wanted, free_colour(right(edge)));
    set(edge, wanted);
  }

  void set(int edge, int colour) {
    colour_[to_size(edge)] = colour;
    at(left(edge), colour) = edge;
    at(right(edge), colour) = edge;
  }

  /// The edges of colours a, b, a, ... from `vertex` on, which has no edge of colour b.
  std::vector<int> path_from(int vertex, int a, int b) {
    std::vector<int> path;
    for (int edge = at(vertex, a); edge != kNoEdge; edge = at(vertex, a)) {
      path.push_back(edge);
      vertex = other_end(edge, vertex);
      std::swap(a, b);
    }
    return path;
  }

  void swap_path(int vertex, int a, int b) {
    auto const path = path_from(vertex, a, b);
    for (int const edge : path)
      at(left(edge), colour_[to_size(edge)]) = at(right(edge), colour_[to_size(edge)]) = kNoEdge;
    for (int const edge : path) set(edge, colour_[to_size(edge)] == a ? b : a);
  }

  /// Colour `from` has more edges than `to`, so that some path of the two starts and ends with `from`.
  void move_one(int from, int to) {
    int const vertices = static_cast<int>(at_.size()) / num_colours_;
    for (int vertex = 0; vertex < vertices; ++vertex) {
      if (at(vertex, from) == kNoEdge || at(vertex, to) != kNoEdge) continue;
      if (path_from(vertex, from, to).size() % 2 == 1) return swap_path(vertex, from, to);
    }
  }

  std::span<BipartiteEdge const> edges_;
  int num_left_;
  int num_colours_;
  std::vector<int> at_;  // [vertices][colours] the edge there
  std::vector<int> colour_;
};

}  // namespace

int max_degree(std::span<BipartiteEdge const> edges, int num_left, int num_right) {
  std::vector<int> degree(to_size(num_left + num_right), 0);
  for (BipartiteEdge const& edge : edges) {
    ++degree[to_size(edge.left)];
    ++degree[to_size(num_left + edge.right)];
  }
  return degree.empty() ? 0 : *std::max_element(degree.begin(), degree.end());
}

std::vector<int> colour_edges(std::span<BipartiteEdge const> edges, int num_left, int num_right, int num_colours,
                              int max_edges_per_colour) {
  Colouring colouring(edges, num_left, num_right, num_colours);
  if (max_edges_per_colour > 0) colouring.even_out(max_edges_per_colour);
  return colouring.take();
}

}  // namespace switchyard::rebalance
