// SPDX-License-Identifier: Apache-2.0
#include "pickle.hpp"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "raw_numbers.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::size_t kMaxNodes = std::size_t{1} << 22;
constexpr std::size_t kMaxMembers = 256;
constexpr std::string_view kRebuildTensor = "_rebuild_tensor_v2";
constexpr std::string_view kOrderedDict = "OrderedDict";

bool is_known_name(std::string_view module, std::string_view name) {
  if (module == "torch._utils") return name == kRebuildTensor;
  if (module == "collections") return name == kOrderedDict;
  return module == "torch" && name.ends_with("Storage");
}

}  // namespace

/// The stack machine that a pickle is a program for.
class PickleMachine {
 public:
  PickleMachine(Pickle& out, std::string_view bytes, std::size_t file_offset)
      : out_(out), bytes_(bytes), file_offset_(file_offset) {}

  void run() {
    if (take(1, "the protocol") != "\x80" || take(1, "the protocol") != "\x02") {
      opcode_at_ = 0;
      fail("a pickle of protocol 2 is required: save with torch.save and its default protocol");
    }
    while (step()) {
    }
  }

 private:
  [[noreturn]] void fail(std::string const& problem) const {
    throw_error(ErrorCode::parse,
                fmt::format("{}: byte {}: pickle: {}", out_.source_name_, file_offset_ + opcode_at_, problem));
  }

  std::string_view take(std::size_t bytes, std::string_view what) {
    if (bytes > bytes_.size() - position_) fail(fmt::format("it ends inside {}", what));
    position_ += bytes;
    return bytes_.substr(position_ - bytes, bytes);
  }
  std::uint64_t take_number(std::size_t bytes) { return little_endian(take(bytes, "a number"), 0, bytes); }
  std::string_view take_line() {
    std::size_t const end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) fail("a name does not end");
    std::string_view const line = bytes_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }

  PickleNode& push(PickleKind kind) {
    if (out_.nodes_.size() >= kMaxNodes) fail(fmt::format("more than {} values", kMaxNodes));
    stack_.push_back(static_cast<std::uint32_t>(out_.nodes_.size()));
    PickleNode& node = out_.nodes_.emplace_back();
    node.kind = kind;
    node.offset = file_offset_ + opcode_at_;
    return node;
  }
  void push_integer(std::int64_t value, PickleKind kind = PickleKind::integer) { push(kind).integer = value; }

  std::uint32_t pop() {
    std::size_t const floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) fail("it takes a value that is not there");
    std::uint32_t const top = stack_.back();
    stack_.pop_back();
    return top;
  }
  std::vector<std::uint32_t> pop_to_mark() {
    if (marks_.empty()) fail("it goes back to a mark that is not there");
    auto const first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<std::uint32_t> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return values;
  }
  PickleNode& top_of_kind(PickleKind kind) {
    std::uint32_t const id = pop();
    stack_.push_back(id);
    if (out_.nodes_[id].kind != kind) fail(fmt::format("a {} is required on the stack", to_string(kind)));
    return out_.nodes_[id];
  }

  /// @return false behind the last opcode.
  bool step() {
    opcode_at_ = position_;
    auto const opcode = static_cast<unsigned char>(take(1, "its program").front());
    if (opcode == '.') {
      out_.root_ = pop();
      if (!stack_.empty() || !marks_.empty()) fail("values are left on the stack at its end");
      return false;
    }
    if (!run_scalar(opcode) && !run_container(opcode) && !run_memo(opcode)) {
      fail(
          fmt::format("opcode 0x{:02x} ('{}') is not among those of the two known shapes of recordings: only "
                      "dictionaries, lists, numbers, strings and tensors are read",
                      opcode, excerpt(bytes_.substr(opcode_at_, 1))));
    }
    return true;
  }

  bool run_scalar(unsigned char opcode) {
    switch (opcode) {
      case 'N': push(PickleKind::none); return true;
      case 0x88: push_integer(1, PickleKind::boolean); return true;
      case 0x89: push_integer(0, PickleKind::boolean); return true;
      case 'J': push_integer(static_cast<std::int32_t>(static_cast<std::uint32_t>(take_number(4)))); return true;
      case 'K': push_integer(static_cast<std::int64_t>(take_number(1))); return true;
      case 'M': push_integer(static_cast<std::int64_t>(take_number(2))); return true;
      case 0x8a: run_long(); return true;
      case 'G': run_real(); return true;
      case 'X': run_string(); return true;
      case 'c': run_global(); return true;
      default: return false;
    }
  }

  void run_long() {
    auto const bytes = static_cast<std::size_t>(take_number(1));
    if (bytes > 8) fail("an integer beyond 64 bits");
    std::uint64_t value = take_number(bytes);
    bool const negative = bytes > 0 && bytes < 8 && (value >> (8 * bytes - 1) & 1U) != 0;
    if (negative) value |= ~std::uint64_t{0} << (8 * bytes);
    push_integer(static_cast<std::int64_t>(value));
  }

  void run_real() {
    std::string reversed(take(8, "a number"));  // the only big-endian number of the format
    std::reverse(reversed.begin(), reversed.end());
    push(PickleKind::real).real = std::bit_cast<double>(little_endian(reversed, 0, 8));
  }

  void run_string() {
    auto const bytes = static_cast<std::size_t>(take_number(4));
    std::string_view const text = take(bytes, "a string");
    push(PickleKind::string).text = text;
  }

  void run_global() {
    std::string_view const module = take_line();
    std::string_view const name = take_line();
    if (!is_known_name(module, name))
      fail(
          fmt::format("it names '{}.{}', which recordings of SGLang do not: such a file could run code when Python "
                      "loads it, and is read no further",
                      excerpt(module), excerpt(name)));
    push(PickleKind::global).text = name;
  }

  bool run_container(unsigned char opcode) {
    switch (opcode) {
      case '(': marks_.push_back(stack_.size()); return true;
      case '}': push(PickleKind::dict); return true;
      case ']': push(PickleKind::list); return true;
      case ')': push(PickleKind::tuple); return true;
      case 't': push_tuple(pop_to_mark()); return true;
      case 0x85:
      case 0x86:
      case 0x87: push_short_tuple(opcode - 0x84U); return true;
      case 'a': append({pop()}); return true;
      case 'e': append(pop_to_mark()); return true;
      case 's': set_one(); return true;
      case 'u': set_members(pop_to_mark()); return true;
      case 'Q': push_storage(); return true;
      case 'R': reduce(); return true;
      default: return false;
    }
  }

  void push_tuple(std::vector<std::uint32_t> values) { push(PickleKind::tuple).children = std::move(values); }
  void push_short_tuple(std::size_t length) {
    std::vector<std::uint32_t> values(length);
    for (std::size_t i = length; i-- > 0;) values[i] = pop();
    push_tuple(std::move(values));
  }

  void append(std::vector<std::uint32_t> const& values) {
    PickleNode& list = top_of_kind(PickleKind::list);
    list.children.insert(list.children.end(), values.begin(), values.end());
  }

  void set_one() {
    std::uint32_t const value = pop();
    std::uint32_t const key = pop();
    set_members({key, value});
  }
  void set_members(std::vector<std::uint32_t> const& pairs) {
    PickleNode& dict = top_of_kind(PickleKind::dict);
    if (pairs.size() % 2 != 0) fail("a key without a value");
    dict.children.insert(dict.children.end(), pairs.begin(), pairs.end());
    if (dict.children.size() > 2 * kMaxMembers) fail(fmt::format("a dictionary of more than {} members", kMaxMembers));
    std::vector<std::string_view> keys;
    for (std::size_t i = 0; i < dict.children.size(); i += 2)
      if (out_.nodes_[dict.children[i]].kind == PickleKind::string) keys.push_back(out_.nodes_[dict.children[i]].text);
    std::sort(keys.begin(), keys.end());
    auto const twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) fail(fmt::format("the key '{}' appears twice in one dictionary", excerpt(*twice)));
  }

  void push_storage() {
    std::uint32_t const id = pop();
    if (out_.nodes_[id].kind != PickleKind::tuple || out_.nodes_[id].children.size() != 5)
      fail("a persistent id of five parts is required");
    auto children = out_.nodes_[id].children;
    push(PickleKind::storage).children = std::move(children);
  }

  void reduce() {
    std::uint32_t const arguments = pop();
    std::uint32_t const callee = pop();
    if (out_.nodes_[callee].kind != PickleKind::global || out_.nodes_[arguments].kind != PickleKind::tuple)
      fail("only a known name can be applied to a tuple");
    std::string_view const name = out_.nodes_[callee].text;
    std::size_t const count = out_.nodes_[arguments].children.size();
    if (name == kOrderedDict && count == 0) {
      push(PickleKind::dict);
    } else if (name == kRebuildTensor && (count == 6 || count == 7)) {
      auto children = out_.nodes_[arguments].children;
      push(PickleKind::tensor).children = std::move(children);
    } else {
      fail(fmt::format("'{}' is applied to {} arguments", excerpt(name), count));
    }
  }

  bool run_memo(unsigned char opcode) {
    switch (opcode) {
      case 'q': put(take_number(1)); return true;
      case 'r': put(take_number(4)); return true;
      case 'h': get(take_number(1)); return true;
      case 'j': get(take_number(4)); return true;
      default: return false;
    }
  }
  void put(std::uint64_t slot) {
    std::uint32_t const id = pop();
    stack_.push_back(id);
    memo_[slot] = id;
  }
  void get(std::uint64_t slot) {
    auto const found = memo_.find(slot);
    if (found == memo_.end()) fail(fmt::format("memo {} was never written", slot));
    stack_.push_back(found->second);
  }

  Pickle& out_;
  std::string_view bytes_;
  std::size_t file_offset_;
  std::size_t position_ = 0;
  std::size_t opcode_at_ = 0;
  std::vector<std::uint32_t> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, std::uint32_t> memo_;
};

Pickle::Pickle(std::string_view bytes, std::string const& source_name, std::size_t file_offset)
    : source_name_(source_name) {
  PickleMachine(*this, bytes, file_offset).run();
}

std::optional<std::uint32_t> Pickle::find(std::uint32_t id, std::string_view key) const {
  PickleNode const& dict = nodes_[id];
  if (dict.kind != PickleKind::dict) return std::nullopt;
  for (std::size_t i = 0; i < dict.children.size(); i += 2) {
    PickleNode const& name = nodes_[dict.children[i]];
    if (name.kind == PickleKind::string && name.text == key) return dict.children[i + 1];
  }
  return std::nullopt;
}

std::uint32_t Pickle::at(std::uint32_t id, std::string_view key, std::string const& path) const {
  require_kind(id, PickleKind::dict, path);
  auto const found = find(id, key);
  if (!found) refuse(id, path, fmt::format("the member '{}' is missing", key));
  return *found;
}

void Pickle::refuse(std::uint32_t id, std::string const& path, std::string const& problem) const {
  throw_error(ErrorCode::parse, fmt::format("{}: byte {}: {}: {}", source_name_, nodes_[id].offset, path, problem));
}

void Pickle::require_kind(std::uint32_t id, PickleKind kind, std::string const& path) const {
  if (nodes_[id].kind != kind)
    refuse(id, path, fmt::format("found a {}, a {} is required", to_string(nodes_[id].kind), to_string(kind)));
}

std::int64_t Pickle::integer(std::uint32_t id, std::string const& path) const {
  require_kind(id, PickleKind::integer, path);
  return nodes_[id].integer;
}

std::string_view to_string(PickleKind kind) noexcept {
  switch (kind) {
    case PickleKind::none: return "None";
    case PickleKind::boolean: return "bool";
    case PickleKind::integer: return "integer";
    case PickleKind::real: return "float";
    case PickleKind::string: return "string";
    case PickleKind::list: return "list";
    case PickleKind::tuple: return "tuple";
    case PickleKind::dict: return "dictionary";
    case PickleKind::global: return "name";
    case PickleKind::storage: return "storage";
    case PickleKind::tensor: return "tensor";
  }
  return "value";
}

}  // namespace switchyard::io
