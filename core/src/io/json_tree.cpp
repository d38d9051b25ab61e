// SPDX-License-Identifier: Apache-2.0
#include "json_tree.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "switchyard/internal/require.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

/// Input iterator that tells the builder how far the lexer has read: nlohmann's SAX events carry no positions.
struct TrackedIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = char const*;
  using reference = char const&;

  char const* position;
  char const** reached;

  reference operator*() const { return *position; }
  TrackedIterator& operator++() {
    *reached = ++position;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator const before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(TrackedIterator a, TrackedIterator b) { return a.position == b.position; }
};

bool is_number_char(char c) {
  return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
}

/// Turns nlohmann's events into nodes. Children wait on `pending_` until their container closes.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(JsonDocument::State const& state, JsonLimits limits)
      : state_(state), limits_(limits), reached_(state.text.data()) {}

  JsonTree run() {
    char const* const begin = state_.text.data();
    char const* const end = begin + state_.text.size();
    nlohmann::json::sax_parse(TrackedIterator{begin, &reached_}, TrackedIterator{end, &reached_}, this);
    tree_.root = pending_.front();
    return std::move(tree_);
  }

  bool null() override { return add(JsonType::null, end_offset() - 4, 0); }
  bool boolean(bool value) override { return add(JsonType::boolean, end_offset() - (value ? 4 : 5), value ? 1 : 0); }
  bool number_integer(number_integer_t value) override { return add(JsonType::integer, number_offset(), value); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return number_integer(static_cast<number_integer_t>(value));
    JsonNode node = make(JsonType::big_unsigned, number_offset());
    node.big_unsigned = value;
    return push(node);
  }
  bool number_float(number_float_t value, string_t const& spelled) override;
  bool string(string_t& value) override { return push(string_node(value)); }
  bool binary(binary_t& /*value*/) override { return false; }  // never sent for JSON text
  bool start_object(std::size_t /*size*/) override { return open(true); }
  bool key(string_t& value) override { return push(string_node(value)); }
  bool end_object() override { return close(JsonType::object); }
  bool start_array(std::size_t /*size*/) override { return open(false); }
  bool end_array() override { return close(JsonType::array); }
  bool parse_error(std::size_t position, std::string const& last_token,
                   nlohmann::detail::exception const& error) override;

 private:
  /// A container that is still open.
  struct Frame {
    std::size_t first_pending;
    std::size_t offset;
    bool is_object;
  };

  [[nodiscard]] std::size_t end_offset() const { return static_cast<std::size_t>(reached_ - state_.text.data()); }
  [[nodiscard]] std::size_t number_offset() const;
  [[nodiscard]] std::size_t string_offset() const;
  [[nodiscard]] std::string path() const;
  [[nodiscard]] JsonNode string_node(string_t const& value);

  static JsonNode make(JsonType type, std::size_t offset) {
    JsonNode node{};
    node.offset = offset & (kMaxJsonBytes - 1);
    node.type_bits = static_cast<std::uint64_t>(type) & 15U;
    return node;
  }
  bool push(JsonNode node) {
    pending_.push_back(node);
    return true;
  }
  bool add(JsonType type, std::size_t offset, std::int64_t value) {
    JsonNode node = make(type, offset);
    node.integer = value;
    return push(node);
  }
  bool open(bool is_object);
  bool close(JsonType type);
  void append_key_order(JsonNode const& object);

  JsonDocument::State const& state_;
  JsonLimits limits_;
  char const* reached_;
  JsonTree tree_;
  std::vector<JsonNode> pending_;
  std::vector<Frame> frames_;
};

// The lexer has read one character past a number unless the text ended with it.
std::size_t TreeBuilder::number_offset() const {
  std::size_t start = end_offset();
  if (start > 0 && !is_number_char(state_.text[start - 1])) --start;
  while (start > 0 && is_number_char(state_.text[start - 1])) --start;
  return start;
}

// The lexer stands behind the closing quote; every quote inside the string has an odd number of backslashes before it.
std::size_t TreeBuilder::string_offset() const {
  for (std::size_t quote = end_offset() - 1; quote-- > 0;) {
    if (state_.text[quote] != '"') continue;
    std::size_t backslashes = 0;
    while (backslashes < quote && state_.text[quote - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return quote;
  }
  return 0;
}

JsonNode TreeBuilder::string_node(string_t const& value) {
  JsonNode node = make(JsonType::string, string_offset());
  node.first = tree_.arena.size();
  node.count = value.size() & (kMaxJsonBytes - 1);
  tree_.arena += value;
  return node;
}

bool TreeBuilder::number_float(number_float_t value, string_t const& spelled) {
  // nlohmann-json falls back to a double when an integer does not fit; a rounded count would be a wrong count.
  if (spelled.find_first_of(".eE") == string_t::npos)
    state_.refuse(number_offset(), path(), fmt::format("found {}, an integer beyond 64 bits", excerpt(spelled)));
  JsonNode node = make(JsonType::real, number_offset());
  node.real = value;
  return push(node);
}

bool TreeBuilder::open(bool is_object) {
  std::size_t const offset = end_offset() - 1;
  if (frames_.size() >= static_cast<std::size_t>(std::max(limits_.max_depth, 0)))
    state_.refuse(offset, path(), fmt::format("nested deeper than the limit of {} levels", limits_.max_depth));
  frames_.push_back({pending_.size(), offset, is_object});
  return true;
}

bool TreeBuilder::close(JsonType type) {
  Frame const frame = frames_.back();
  std::size_t const children = pending_.size() - frame.first_pending;
  JsonNode node = make(type, frame.offset);
  node.first = tree_.pool.size();
  node.count = (type == JsonType::object ? children / 2 : children) & (kMaxJsonBytes - 1);
  auto const first_child = pending_.begin() + static_cast<std::ptrdiff_t>(frame.first_pending);
  tree_.pool.insert(tree_.pool.end(), first_child, pending_.end());
  if (type == JsonType::object) append_key_order(node);
  frames_.pop_back();
  pending_.resize(frame.first_pending);
  return push(node);
}

void TreeBuilder::append_key_order(JsonNode const& object) {
  std::vector<std::uint32_t> order(object.count);
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  auto const key_of = [&](std::uint32_t i) { return tree_.string_of(tree_.child(object, 2 * std::size_t{i})); };
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    int const compared = key_of(a).compare(key_of(b));
    return compared != 0 ? compared < 0 : a < b;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (key_of(order[i - 1]) != key_of(order[i])) continue;
    pending_.resize(frames_.back().first_pending);  // the path names the object, not its last member
    frames_.pop_back();
    state_.refuse(tree_.child(object, 2 * std::size_t{order[i]}).offset, path_with_key(path(), key_of(order[i])),
                  fmt::format("found the key \"{}\" twice in one object", excerpt(key_of(order[i]))));
  }
  if (order.size() <= kSortedFrom) return;
  for (std::uint32_t const member : order) {
    JsonNode node{};
    node.first = member;
    tree_.pool.push_back(node);
  }
}

/// The path of the value that is being read.
std::string TreeBuilder::path() const {
  std::string path = "$";
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    std::size_t const end = i + 1 < frames_.size() ? frames_[i + 1].first_pending : pending_.size();
    std::size_t const children = end - frames_[i].first_pending;
    if (!frames_[i].is_object) {
      path = path_with_index(std::move(path), children);
    } else if (children % 2 == 1) {
      path = path_with_key(std::move(path), tree_.string_of(pending_[end - 1]));
    }
  }
  return path;
}

bool TreeBuilder::parse_error(std::size_t position, std::string const& /*last_token*/,
                              nlohmann::detail::exception const& error) {
  std::string_view reason = error.what();  // "[json.exception.<name>] parse error at line L, column C: <reason>"
  if (auto const bracket = reason.find("] "); bracket != std::string_view::npos) reason.remove_prefix(bracket + 2);
  if (auto const column = reason.find("column "); column != std::string_view::npos) {
    if (auto const colon = reason.find(": ", column); colon != std::string_view::npos) reason.remove_prefix(colon + 2);
  }
  std::size_t const offset = position == 0 ? 0 : position - 1;
  std::string_view const hint = offset >= state_.text.size() ? " (the text ends here: is the file cut off?)" : "";
  state_.refuse(offset, path(), fmt::format("{}{}", excerpt(reason, 160), hint));
}

bool is_plain_word(std::string_view key) {
  return !key.empty() && key.size() <= 64 && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// A path of 64 long keys would bury the message: its middle goes.
std::string shortened(std::string_view path) {
  constexpr std::size_t kShownEachSide = 100;
  if (path.size() <= 2 * kShownEachSide + 3) return std::string(path);
  return fmt::format("{}...{}", path.substr(0, kShownEachSide), path.substr(path.size() - kShownEachSide));
}

}  // namespace

std::string path_with_key(std::string path, std::string_view key) {
  if (is_plain_word(key)) return path.append(".").append(key);
  return path.append("[\"").append(excerpt(key)).append("\"]");
}

std::string path_with_index(std::string path, std::size_t index) {
  return path.append(fmt::format("[{}]", index));
}

void JsonDocument::State::refuse(std::size_t offset, std::string_view path, std::string_view problem) const {
  throw_error(ErrorCode::parse, fmt::format("{}: {}: {}: {}", source_name,
                                            describe_place(text, offset, origin.first_byte, origin.first_line),
                                            shortened(path), problem));
}

JsonTree build_json_tree(JsonDocument::State const& state, JsonLimits limits) {
  std::size_t const max_bytes = std::min(limits.max_bytes, kMaxJsonBytes);
  SWITCHYARD_REQUIRE(state.text.size() <= max_bytes, parse, "{}: {} bytes, the limit for a JSON text is {}",
                     state.source_name, state.text.size(), max_bytes);
  if (state.text.find_first_not_of(" \t\r\n") == std::string::npos)
    state.refuse(state.text.size(), "$", "the text is empty, a JSON value is required");
  // nlohmann-json takes a NUL byte for the end of the text and would ignore what follows it.
  if (std::size_t const nul = state.text.find('\0'); nul != std::string::npos)
    state.refuse(nul, "$", "found a NUL byte: this is no JSON text");
  return TreeBuilder(state, limits).run();
}

}  // namespace switchyard::io
