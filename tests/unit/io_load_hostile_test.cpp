// SPDX-License-Identifier: Apache-2.0
// Hostile loads. Worked example: an npy header that announces 2^62 x 4 elements of 8 bytes behind 16 bytes of data must
// be refused by arithmetic (2^62 * 4 does not fit 63 bits) before anything is allocated.
#include <doctest/doctest.h>

#include <limits>

#include "support/error_text.hpp"
#include "support/npy_bytes.hpp"
#include "switchyard/io/load_reader.hpp"

namespace {

using support::contains;
using support::error_text;
using support::npy_dict;
using support::npy_header;
using support::raw_bytes;
using switchyard::Error;
using switchyard::ErrorCode;
using switchyard::ExpertLoad;
using switchyard::io::parse_expert_load;

std::string refusal(std::string_view text, int experts = 0) {
  return error_text(ErrorCode::parse, [&] { return parse_expert_load(text, "in", experts); });
}

struct Case {
  std::string text;
  std::string_view expected;
  int experts = 0;
};

void check_refused(std::vector<Case> const& cases) {
  for (Case const& hostile : cases) {
    std::string const said = refusal(hostile.text, hostile.experts);
    CHECK_MESSAGE(contains(said, hostile.expected), said, " should hold ", hostile.expected);
    CHECK(contains(said, "in: "));
    CHECK(said.find('\n') == std::string::npos);
  }
}

/// Where a cut or changed text may still be read, and what it must give then.
enum class Reading { refused, accepted_equal, accepted_other };

Reading read(std::string_view text, ExpertLoad const& original) {
  try {
    return parse_expert_load(text, "in", 0).load == original ? Reading::accepted_equal : Reading::accepted_other;
  } catch (Error const& error) {
    CHECK_MESSAGE(error.code() == ErrorCode::parse, error.what());
    return Reading::refused;
  }
}

TEST_CASE("JSON loads") {
  check_refused({
      {"", "the text is empty"},
      {"[]", "$: found an array of 0"},
      {"[[]]", "$[0]: found an array of 0"},
      {"[[[]]]", "$[0][0]: found an array of 0"},
      {"[1,2]", "$[0]: found 1, an array is required"},
      {"[[1,2],[3]]", "byte 7 (line 1, column 8): $[1]: found an array of 1, 2 experts were found before"},
      {"[[[1],[2]],[[3]]]", "$[1]: found an array of 1, 2 layers were found before"},
      {"[[1,2],3]", "$[1]: found 3, an array is required"},
      {"[[1,[2]]]", "$[0][1]: found an array of 1, a number is required"},
      {"[[[[1]]]]", "$[0][0][0]: found an array of 1, a number is required"},
      {"[[1,-2]]", "$[0][1]: found -2, a load must be a finite number in [0, 2^53]"},
      {"[[1,-1e-9]]", "found -1e-9, a load must be"},
      {"[[1,9007199254740994]]", "$[0][1]: found 9007199254740994, a load must be"},
      {"[[1,\"2\"]]", "found \"2\", a number is required"},
      {"[[1,null]]", "found null, a number is required"},
      {"[[NaN]]", "byte 2"},
      {"[[1e999]]", "number overflow"},
      {"[[1,2]]", "$[0]: found an array of 2, one load for each of the 3 experts", 3},
      {R"({"expert_load":[[1]]})", "the member \"schema_version\" is missing"},
      {R"({"schema_version":2,"expert_load":[[1]]})", "$.schema_version: found 2, loads of schema_version 1"},
      {R"({"schema_version":1,"expert_load":[[1]],"x":0})", "$.x: found 0, \"x\" is no member"},
      {R"({"schema_version":1,"expert_load":[[1]],"expert_load":[[1]]})", "found the key \"expert_load\" twice"},
      {R"({"logical_count":5})", "$.logical_count: found 5, an array is required"},
      {R"({"loads":[[1]]})", "a member \"expert_load\" (Switchyard) or \"logical_count\" (SGLang) is required"},
      {"{}", "\"expert_load\""},
      {std::string(100000, '['), "nested deeper"},
      {"[" + std::string(70000, ' ') + "[1" + std::string(2 * 65536, '0') + "]]", "number overflow"},
  });
}

TEST_CASE("CSV loads") {
  check_refused({
      {"hello", "byte 0 (line 1, column 1): found 'hello', the file must be npy, JSON, or CSV"},
      {"expert,layer,load\n0,0,1\n", "found 'expert', the file must be"},
      {"layer,expert,load\n", "no row follows the header"},
      {"1,2\n3\n", "byte 4 (line 2, column 1): found '3', the row has 1 cells, the first has 2"},
      {"1,2\n3,4,5\n", "the row has 3 cells"},
      {"1,2\n3,x\n", "byte 6 (line 2, column 3): found 'x', a load must be"},
      {"1,2\n3,\n", "(line 2, column 3): found '', a load must be"},
      {"1,-2\n", "found '-2'"},
      {"1,nan\n", "found 'nan'"},
      {"inf,1\n", "found 'inf'"},
      {"1,1e999\n", "found '1e999'"},
      {"1,0x10\n", "found '0x10'"},
      {"1,2\n", "the file has 2 experts, 3 were asked for", 3},
      {"layer,expert,load\n0,0,1,9\n", "found '9', the row has 4 cells, 3 are required"},
      {"layer,expert,load\n0,0.5,1\n", "found '0.5', the expert must be an integer in [0, 65536)"},
      {"layer,expert,load\n-1,0,1\n", "found '-1', the layer must be an integer in [0, 2147483648)"},
      {"layer,expert,load\n0,99999999999999999999,1\n", "found '99999999999999999999', the expert must be"},
      {"layer,expert,load\n0,3,1\n", "found '3', the expert must be an integer in [0, 3)", 3},
      {"layer,expert,load\n0,0,1\n0,1,2\n0,1,4\n",
       "(line 4, column 5): found '4', step 0, layer 0, expert 1 has a row"},
      {"layer,expert,load\n0,0,1\n0,2,2\n", "step 0, layer 0 has no row for expert 1"},
      {"layer,expert,load\n3,0,1\n5,0,2\n", "layers 3 to 5 are recorded, but not layer 4"},
      {"layer,expert,load\n0,0,1\n2147483647,0,2\n", "but not layer 1 2 3 4 5 and 2147483641 more"},
      {"step,layer,expert,load\n0,0,0,1\n2,0,0,1\n", "but not step 1"},
      {"1,2\n\xff\xfe,3\n", "found '\\xff\\xfe'"},
  });
}

TEST_CASE("routing records") {
  std::string const meta = "{\"type\":\"meta\"}\n";
  check_refused({
      {meta + meta, "no routing record of a real token: 0 look like"},
      {meta + "{\"layer\":0,\"topk_ids\":[0]}\n", "no routing record of a real token: 1 look like"},
      {meta + "[1]\n", "byte 16 (line 2, column 1): $: found an array of 1, an object is required"},
      {meta + "{\"layer\":0,\"topk_ids\":[5]\n", "(line 2,"},
      {meta + "{\"topk_ids\":[5]}\n", "the member \"layer\" is missing"},
      {meta + "{\"layer\":0}\n", "the member \"topk_ids\" is missing"},
      {meta + "{\"type\":3,\"layer\":0,\"topk_ids\":[5]}\n", "$.type: found 3, a string is required"},
      {meta + "{\"layer\":-1,\"topk_ids\":[5]}\n", "$.layer: found -1"},
      {meta + "{\"layer\":0,\"topk_ids\":[]}\n", "at least one expert id"},
      {meta + "{\"layer\":0,\"topk_ids\":[-2]}\n", "$.topk_ids[0]: found -2, an integer in [-1, 65535]"},
      {meta + "{\"layer\":0,\"topk_ids\":[65536]}\n", "found 65536"},
      {meta + "{\"layer\":0,\"topk_ids\":[1e3]}\n", "found 1e3"},
      {meta + "{\"layer\":0,\"topk_ids\":[5,6]}\n{\"layer\":0,\"topk_ids\":[5]}\n",
       "(line 3, column 23): $.topk_ids: found an array of 1, the records before"},
      {meta + "{\"layer\":0,\"topk_ids\":[5],\"topk_weights\":[1,2]}\n",
       "$.topk_weights: found an array of 2, an array of 1"},
      {meta + "{\"layer\":0,\"topk_ids\":[5],\"topk_weights\":[1e39]}\n", "found 1e39, a float is required"},
      {meta + "{\"layer\":0,\"topk_ids\":[5]}\n{\"layer\":2,\"topk_ids\":[5]}\n", "but not layer 1"},
      {"{\"type\":\"meta\",\"num_experts\":99999999}\n" + meta, "$.num_experts: found 99999999"},
  });
}

TEST_CASE("npy headers and sizes") {
  std::string const eight = raw_bytes<double>({1});
  auto const with = [&](std::string const& dict) { return npy_header(dict) + eight; };
  std::string const good = npy_dict("<f8", "1, 1");
  std::string huge_length = npy_header(good, 2) + eight;
  for (std::size_t i = 8; i < 12; ++i) huge_length[i] = '\xff';
  std::string version9 = with(good);
  version9[6] = 9;
  check_refused({
      {"\x93", "the file ends inside the npy magic"},
      {std::string("\x93NUMPX\1\0", 8), "byte 0: found '\\x93NUMPX', the npy magic is required"},
      {version9, "byte 6: npy version 9.0"},
      {huge_length, "byte 8: npy header of 4294967295 bytes"},
      {with("{'descr': '>f8', 'fortran_order': False, 'shape': (1, 1), }"), "big-endian arrays are not read"},
      {with("{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1), }"), "Fortran order is not read"},
      {with("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"), "object arrays are pickles"},
      {with("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1, 1), }"), "structured arrays are not read"},
      {with("{'descr': '<c16', 'fortran_order': False, 'shape': (1, 1), }"), "found ''<c16'"},
      {with("{'descr': '<f8', 'fortran_order': 0, 'shape': (1, 1), }"), "True or False is required"},
      {with("{'descr': '<f8', 'fortran_order': False}"), "the key 'shape' is missing"},
      {with("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }"), "the key appears twice"},
      {with("{'descr': '<f8', 'extra': 1, 'fortran_order': False, 'shape': (1, 1), }"), "the keys are descr"},
      {with(good + " x"), "only blanks may follow"},
      {with("[1]"), "'{' is required"},
      {with("{'descr"), "the string does not end"},
      {with(npy_dict("<f8", "1")), "a one-element tuple ends in ','"},
      {with(npy_dict("<f8", "1,")), "1 dimensions (1), [layers][experts] or"},
      {with(npy_dict("<f8", "")), "0 dimensions ()"},
      {with(npy_dict("<f8", "1, 1, 1, 1")), "4 dimensions (1, 1, 1, 1)"},
      {with(npy_dict("<f8", "-1, 1")), "an extent in [0, 2^63) is required"},
      {with(npy_dict("<f8", "9223372036854775808, 1")), "an extent in [0, 2^63) is required"},
      {with(npy_dict("<f8", "4611686018427387904, 4")), "the shape (4611686018427387904, 4) overflows 63 bits"},
      {with(npy_dict("<f8", "2305843009213693952, 1")), "overflows 63 bits"},
      {with(npy_dict("<f8", "2, 1")), "byte 128: the shape (2, 1) needs 16 bytes of elements, 8 follow"},
      {with(good) + "x", "needs 8 bytes of elements, 9 follow"},
      {npy_header(npy_dict("<f8", "0, 1")), "0 layers x 1 experts: the recording is empty"},
      {npy_header(npy_dict("<f8", "0, 9223372036854775807")), "9223372036854775807 experts: the recording is empty"},
      {npy_header(npy_dict("|u1", "1, 65537")) + std::string(65537, '\1'), "exceed the limit of 65536 experts"},
      {npy_header(npy_dict("<f8", "1, 1")) + raw_bytes<double>({-1}), "byte 128: step 0, layer 0, expert 0: found -1,"},
      {npy_header(npy_dict("<f4", "1, 2")) + raw_bytes<float>({1, std::numeric_limits<float>::quiet_NaN()}),
       "byte 132: step 0, layer 0, expert 1: found nan,"},
      {npy_header(npy_dict("<f4", "1, 1")) + raw_bytes<float>({std::numeric_limits<float>::infinity()}), "found inf,"},
      {npy_header(npy_dict("<i8", "1, 1")) + raw_bytes<std::int64_t>({(std::int64_t{1} << 53) + 1}),
       "found 9007199254740993,"},
      {npy_header(npy_dict("<u8", "2, 1, 1")) + raw_bytes<std::uint64_t>({1, UINT64_MAX}),
       "step 1, layer 0, expert 0: found 18446744073709551615,"},
      {with(good), "the file has 1 experts, 2 were asked for", 2},
  });
  CHECK(contains(refusal(npy_header(good).substr(0, 60)), "the file ends inside the npy header"));
}

TEST_CASE("a file cut at any byte is refused, or says the same where the rest is only blank") {
  std::string const npy = npy_header(npy_dict("<i4", "2, 3")) + raw_bytes<std::int32_t>({1, 2, 3, 4, 5, 6});
  std::string const json = "{\"schema_version\": 1, \"expert_load\": [[[10,2.5],[30,4]]]}\n \n";
  std::string const sglang = "{\"logical_count\": [[1, 2], [3, 4]], \"rank\": 0}";
  std::string const rows = "layer,expert,load\r\n0,0,1\r\n0,1,2\r\n1,0,3\r\n1,1,4\r\n\r\n";
  for (std::string const& text : {npy, json, sglang, rows}) {
    ExpertLoad const whole = parse_expert_load(text, "in", 0).load;
    std::size_t const last = text.find_last_not_of("\r\n ");
    for (std::size_t length = 0; length < text.size(); ++length) {
      Reading const reading = read(std::string_view(text).substr(0, length), whole);
      // Fewer rows of CSV can be a smaller load of its own: two full rows are one layer of two experts.
      bool const row_end = &text == &rows || text == rows;
      bool const good = length > last ? reading == Reading::accepted_equal
                                      : reading == Reading::refused || (row_end && reading == Reading::accepted_other);
      CHECK_MESSAGE(good, "cut at ", length, " of ", text);
    }
  }
}

TEST_CASE("routing records cut at any byte: whole records count, a broken one is refused") {
  std::string const line = "{\"type\":\"route\",\"layer\":0,\"topk_ids\":[5,2]}\n";
  std::string const text = line + line + line;
  for (std::size_t length = 0; length < text.size(); ++length) {
    std::string_view const cut = std::string_view(text).substr(0, length);
    std::size_t const whole = (length + 1) / line.size();  // a record is whole without its newline
    bool const broken = length % line.size() != 0 && (length + 1) % line.size() != 0;
    if (whole == 0 || broken) {
      CHECK_MESSAGE(refusal(cut) != "<no error>", "cut at ", length);
    } else {
      CHECK(parse_expert_load(cut, "in", 0).records == static_cast<std::int64_t>(whole));
    }
  }
}

TEST_CASE("every single-bit flip of an npy header is refused or means the same") {
  for (int const version : {1, 2, 3}) {
    std::string const header = npy_header(npy_dict("<i4", "2, 3"), version);
    std::string const elements = raw_bytes<std::int32_t>({1, 2, 3, 4, 5, 6});
    ExpertLoad const whole = parse_expert_load(header + elements, "in", 0).load;
    for (std::size_t bit = 0; bit < header.size() * 8; ++bit) {
      std::string flipped = header;
      flipped[bit / 8] = static_cast<char>(static_cast<unsigned char>(flipped[bit / 8]) ^ (1U << (bit % 8)));
      Reading const reading = read(flipped + elements, whole);
      // i4 -> u4 reads positive values alike; i4 -> f4 and versions 2 <-> 3 are other legal headers of the same size.
      bool const other_type = reading == Reading::accepted_other && header[bit / 8] == 'i';
      CHECK_MESSAGE((reading != Reading::accepted_other || other_type), "bit ", bit, " of version ", version);
    }
  }
}

TEST_CASE("a negative expert count is the caller's mistake") {
  CHECK(contains(error_text(ErrorCode::invalid_argument, [] { return parse_expert_load("[[1]]", "in", -1); }),
                 "-1 experts"));
}

}  // namespace
