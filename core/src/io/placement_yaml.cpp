// SPDX-License-Identifier: Apache-2.0
/// TensorRT-LLM's load balancer configuration: the one shape of YAML that its tools write and that is read here.
///
/// Top-level lines are "key: integer" or "initial_global_assignments:"; below that, indented lines "layer: [ids]",
/// where a list may run over several lines. Anchors, tags, block lists, quotes and further documents are refused.
#include <algorithm>
#include <charconv>

#include "placement_parts.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::string_view kAssignments = "initial_global_assignments";
constexpr std::int64_t kMaxInt = (std::int64_t{1} << 31) - 1;

class YamlReader {
 public:
  explicit YamlReader(PlacementText const& text) : text_(text), content_(text.content) {
    if (content_.starts_with("\xef\xbb\xbf")) position_ = 3;
  }

  void read() {
    while (next_line()) {
      if (indent_ > 0) fail("a line that is not indented is required here");
      std::string_view const key = read_key();
      if (key == kAssignments) {
        read_layers();
      } else {
        keep_number(key);
      }
    }
  }

  SlotRows rows{};
  std::int64_t num_slots = -1;
  std::int64_t layer_updates_per_iter = 0;
  bool has_assignments = false;

 private:
  [[noreturn]] void fail(std::string const& problem) const {
    std::string_view const rest = content_.substr(std::min(position_, content_.size()));
    refuse_text(text_.source_name, content_, position_,
                fmt::format("found '{}', {}", excerpt(rest.substr(0, rest.find('\n'))), problem));
  }

  void skip_blanks() {
    while (position_ < content_.size() && (content_[position_] == ' ' || content_[position_] == '\r')) ++position_;
  }
  /// Blanks and, at the end of a line, a comment.
  void skip_to_line_end() {
    skip_blanks();
    if (position_ < content_.size() && content_[position_] == '#')
      position_ = std::min(content_.find('\n', position_), content_.size());
  }
  [[nodiscard]] bool at_line_end() const { return position_ >= content_.size() || content_[position_] == '\n'; }

  /// Goes to the first character of the next line that says something. @return false at the end.
  bool next_line() {
    while (position_ < content_.size()) {
      std::size_t const start = position_;
      skip_to_line_end();
      if (!at_line_end()) {
        indent_ = position_ - start;
        return true;
      }
      position_ = std::min(position_ + 1, content_.size());
    }
    return false;
  }
  void end_line() {
    skip_to_line_end();
    if (!at_line_end()) fail("the end of the line is required");
    position_ = std::min(position_ + 1, content_.size());
  }

  /// "key:", followed by a blank or the end of the line.
  std::string_view read_key() {
    std::size_t end = position_;
    while (end < content_.size() &&
           (std::isalnum(static_cast<unsigned char>(content_[end])) != 0 || content_[end] == '_'))
      ++end;
    std::string_view const key = content_.substr(position_, end - position_);
    if (key.empty() || end >= content_.size() || content_[end] != ':')
      fail("'num_slots:', 'initial_global_assignments:', 'layer_updates_per_iter:' or, below it, 'LAYER:' is required");
    position_ = end + 1;
    return key;
  }

  std::int64_t read_number(std::int64_t max) {
    skip_blanks();
    std::int64_t value = -1;
    char const* const begin = content_.data() + position_;
    auto const [end, error] = std::from_chars(begin, content_.data() + content_.size(), value);
    if (error != std::errc{} || value < 0 || value > max) fail(fmt::format("an integer in [0, {}] is required", max));
    position_ += to_size(end - begin);
    return value;
  }

  void keep_number(std::string_view key) {
    bool const is_slots = key == "num_slots";
    if (!is_slots && key != "layer_updates_per_iter" && key != "ep_size") {
      position_ -= key.size() + 1;
      fail("the members are num_slots, initial_global_assignments, layer_updates_per_iter and ep_size");
    }
    if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) fail(fmt::format("{} is given twice", key));
    seen_.push_back(key);
    std::int64_t const value = read_number(kMaxInt);
    if (is_slots) num_slots = value;
    if (key == "layer_updates_per_iter") layer_updates_per_iter = value;
    end_line();
  }

  void read_layers() {
    if (has_assignments) fail("initial_global_assignments is given twice");
    has_assignments = true;
    end_line();
    while (true) {
      std::size_t const start = position_;
      if (!next_line()) return;
      if (indent_ == 0) {
        position_ = start;
        return;
      }
      read_layer();
    }
  }

  void read_layer() {
    std::size_t const start = position_;
    std::int64_t const layer = read_number(kMaxInt);
    if (position_ >= content_.size() || content_[position_] != ':') fail("':' is required behind the layer");
    ++position_;
    auto const [row, added] = rows.layers.emplace(layer, std::vector<std::int64_t>{});
    if (!added) {
      position_ = start;
      fail("the layer is given twice");
    }
    read_list(row->second);
    end_line();
  }

  /// "[1, 2, 3]", which may run over lines.
  void read_list(std::vector<std::int64_t>& ids) {
    skip_space();
    if (position_ >= content_.size() || content_[position_] != '[')
      fail("a list in brackets is required (block lists with '-' are not read: dump with default_flow_style=None)");
    do {
      ++position_;
      skip_space();
      ids.push_back(read_number(kMaxPlacementExperts - 1));
      skip_space();
    } while (position_ < content_.size() && content_[position_] == ',');
    if (position_ >= content_.size() || content_[position_] != ']') fail("',' or ']' is required");
    ++position_;
  }
  void skip_space() { position_ = std::min(content_.find_first_not_of(" \r\n", position_), content_.size()); }

  PlacementText const& text_;
  std::string_view content_;
  std::size_t position_ = 0;
  std::size_t indent_ = 0;
  std::vector<std::string_view> seen_;
};

}  // namespace

PlacementReadResult read_trtllm_yaml(PlacementText const& text) {
  YamlReader reader(text);
  reader.read();
  SWITCHYARD_REQUIRE(reader.has_assignments && reader.num_slots >= 0, parse,
                     "{}: num_slots and initial_global_assignments are required: is the file cut off?",
                     text.source_name);
  for (auto const& [layer, slots] : reader.rows.layers)
    SWITCHYARD_REQUIRE(slots.size() == to_size(reader.num_slots), parse,
                       "{}: layer {} assigns {} slots, num_slots is {}", text.source_name, layer, slots.size(),
                       reader.num_slots);
  PlacementReadResult result = place_rows(text, reader.rows, PlacementFormat::trtllm_yaml);
  result.layer_updates_per_iter = static_cast<int>(reader.layer_updates_per_iter);
  return result;
}

std::string write_trtllm_yaml(ExpertPlacement const& placement, int first_layer) {
  std::string out = fmt::format("num_slots: {}\ninitial_global_assignments:\n", placement.num_slots());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    out += fmt::format("  {}: [", first_layer + layer);
    std::string_view separator;
    for (ExpertId const id : placement.layer(layer)) {
      out += fmt::format("{}{}", separator, id.value());
      separator = ", ";
    }
    out += "]\n";
  }
  return out + "layer_updates_per_iter: 0\n";
}

}  // namespace switchyard::io
