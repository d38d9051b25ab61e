// SPDX-License-Identifier: Apache-2.0
// Strict JSON. Worked example: in
//   {"layers":[1,2,
//   {"map":[-5,999]}]}
// the value 999 starts at byte 27: line 2 starts at byte 16, `{"map":[` has 8 bytes and `-5,` 3 more, so it is line 2,
// column 12, path $.layers[2].map[1].
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "support/error_text.hpp"
#include "switchyard/internal/json_value.hpp"

namespace {

using support::contains;
using support::error_text;
using switchyard::ErrorCode;
using switchyard::io::JsonDocument;
using switchyard::io::JsonLimits;
using switchyard::io::JsonValue;

JsonValue parse(std::string_view text) {
  return JsonDocument::parse(text, "in.json").root();
}
std::string refusal(std::string_view text) {
  return error_text(ErrorCode::parse, [&] { return parse(text); });
}

TEST_CASE("a refused value names file, byte, line, column, path and what was found") {
  JsonValue const root = parse("{\"layers\":[1,2,\n{\"map\":[-5,999]}]}");
  JsonValue const map = root.at("layers").at(2).at("map");
  CHECK(error_text(ErrorCode::parse, [&] { return map.at(1).as_int(0, 63); }) ==
        "in.json: byte 27 (line 2, column 12): $.layers[2].map[1]: found 999, an integer in [0, 63] is required");
  CHECK(error_text(ErrorCode::parse, [&] { return map.int_array(-5, 63); }) ==
        "in.json: byte 27 (line 2, column 12): $.layers[2].map[1]: found 999, an integer in [-5, 63] is required");
  CHECK(map.int_array(-5, 999) == std::vector<std::int64_t>{-5, 999});
}

TEST_CASE("every kind of value converts, and refuses to be another kind") {
  JsonValue const root = parse(R"({"i":7,"d":2.5,"b":true,"s":"a\u00e9\"","n":null,"a":[1,2.5],"o":{}})");
  CHECK(root.at("i").as_int(7, 7) == 7);
  CHECK(root.at("i").as_double() == 7.0);
  CHECK(root.at("d").as_double() == 2.5);
  CHECK(root.at("b").as_bool());
  CHECK(root.at("s").as_string() == "a\xc3\xa9\"");
  CHECK(root.at("n").is_null());
  CHECK(root.at("a").double_array() == std::vector<double>{1, 2.5});
  CHECK(root.at("o").keys().empty());
  CHECK(root.keys() == std::vector<std::string>{"i", "d", "b", "s", "n", "a", "o"});
  CHECK_FALSE(root.find("absent").has_value());
  CHECK(root.find("i").has_value());

  auto const refused = [&](auto const& call) { return error_text(ErrorCode::parse, call); };
  CHECK(contains(refused([&] { return root.at("d").as_int(0, 9); }), "$.d: found 2.5, an integer in [0, 9]"));
  CHECK(contains(refused([&] { return root.at("i").as_bool(); }), "$.i: found 7, true or false"));
  CHECK(contains(refused([&] { return root.at("b").as_double(); }), "$.b: found true, a number"));
  CHECK(contains(refused([&] { return root.at("n").as_string(); }), "$.n: found null, a string"));
  CHECK(contains(refused([&] { return root.at("o").at(0); }), "$.o: found an object of 0 members, an array"));
  CHECK(contains(refused([&] { return root.at("a").at("x"); }), "$.a: found an array of 2, an object"));
  CHECK(contains(refused([&] { return root.at("a").at(2); }), "$.a: found an array of 2, element 2 is missing"));
  CHECK(contains(refused([&] { return root.at("a").array_size(3); }), "an array of 3 is required"));
  CHECK(contains(refused([&] { return root.at("absent"); }), "the member \"absent\" is missing"));
  CHECK(contains(refused([&] { return root.at("a").int_array(0, 9); }), "$.a[1]: found 2.5"));
  CHECK(contains(refused([&] { return parse(R"([1,"x"])").double_array(); }), "$[1]: found \"x\", a number"));
  CHECK(contains(refused([&] {
                   return (root.only_members({"i", "d", "b", "s", "n", "a"}), 0);
                 }),
                 "$.o: found an object"));
}

TEST_CASE("values outlive the document object") {
  JsonValue const value = [] { return parse("[[1,2],[3,4]]").at(1); }();
  CHECK(value.at(0).as_int(0, 9) == 3);
  CHECK(value.path() == "$[1]");
}

TEST_CASE("the offset of every scalar is where its text starts") {
  std::string_view const text = " [ -12 ,3.5e2,true, false,null ,\"q\\\\\\\"\" ,[ ],{ } , 0]";
  JsonValue const root = parse(text);
  std::vector<std::string> const starts = {"-12", "3.5e2", "true", "false", "null", "\"q", "[ ]", "{ }", "0]"};
  REQUIRE(root.array_size() == starts.size());
  for (std::size_t i = 0; i < starts.size(); ++i) {
    std::string const place = "byte " + std::to_string(text.find(starts[i], 2)) + " (line 1";
    std::string const said = error_text(ErrorCode::parse, [&]() -> int { root.at(i).fail("marked"); });
    CHECK_MESSAGE(contains(said, place), said, " should name ", place);
  }
  CHECK(contains(error_text(ErrorCode::parse, [&]() -> int { parse("42").fail("marked"); }),
                 "byte 0 (line 1, column 1): $:"));
}

TEST_CASE("objects with many members: any order, all found, file order kept") {
  std::mt19937 random(7);
  for (std::size_t const count : {1U, 15U, 16U, 17U, 200U}) {
    std::vector<std::string> names(count);
    for (std::size_t i = 0; i < count; ++i) names[i] = "key" + std::to_string(i * 7919 % 1009);
    std::shuffle(names.begin(), names.end(), random);
    std::string text = "{";
    for (std::size_t i = 0; i < count; ++i) text += (i ? ",\"" : "\"") + names[i] + "\":" + std::to_string(i);
    JsonValue const root = parse(text + "}");
    CHECK(root.keys() == names);
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(root.at(names[i]).as_int(0, 1000) == static_cast<std::int64_t>(i));
      CHECK(root.at(names[i]).path() == "$." + names[i]);
    }
    CHECK_FALSE(root.find("key").has_value());
    CHECK_FALSE(root.find("zzz").has_value());
    CHECK(contains(refusal(text + ",\"" + names[count / 2] + "\":0}"), "$." + names[count / 2] + ": found the key"));
  }
}

TEST_CASE("hostile texts are refused with a place") {
  struct Case {
    std::string text;
    std::string_view expected;
  };
  std::vector<Case> const cases = {
      {"", "byte 0 (line 1, column 1): $: the text is empty"},
      {" \r\n\t", "the text is empty"},
      {R"({"a":1,"b":{"c":1,"c":2}})", "byte 18 (line 1, column 19): $.b.c: found the key \"c\" twice"},
      {R"({"a":1,"\u0061":2})", "$.a: found the key \"a\" twice"},
      {"[1e999]", "number overflow"},
      {"[-1e999]", "number overflow"},
      {"[99999999999999999999]", "byte 1 (line 1, column 2): $[0]: found 99999999999999999999, an integer beyond 64"},
      {"[-9223372036854775809]", "an integer beyond 64 bits"},
      {"[NaN]", "$[0]"},
      {"[Infinity]", "$[0]"},
      {"[01]", "$[1]"},
      {"[1,2", "byte 4 (line 1, column 5): $[2]"},
      {"[1,]", "$[1]"},
      {"[1] x", "byte 4"},
      {"[1][2]", "byte 3"},
      {"{\"a\" 1}", "$.a"},
      {"{a:1}", "byte 1"},
      {"// c\n1", "byte 0"},
      {R"(["\ud800"])", "surrogate"},
      {R"(["\udc00x"])", "surrogate"},
      {"[\"\xff\"]", "ill-formed UTF-8"},
      {"[\"\xc0\x80\"]", "ill-formed UTF-8"},
      {"[\"\xed\xa0\x80\"]", "ill-formed UTF-8"},
      {"[\"a\nb\"]", "control character"},
      {std::string("[1]\0[2]", 7), "byte 3 (line 1, column 4): $: found a NUL byte"},
      {std::string(100000, '['), "nested deeper than the limit of 64 levels"},
      {"{\"a\":[1,{\"b\":tru}]}", "$.a[1].b"},
  };
  for (Case const& hostile : cases) {
    std::string const said = refusal(hostile.text);
    CHECK_MESSAGE(contains(said, hostile.expected), said, " should hold ", hostile.expected);
    CHECK(contains(said, "in.json: byte "));
    CHECK(said.size() < 700);
  }
}

TEST_CASE("limits: size, depth, 64-bit integers, long values are shortened") {
  auto const limited = [](std::string_view text, JsonLimits limits) {
    return error_text(ErrorCode::parse, [&] { return JsonDocument::parse(text, "in.json", limits); });
  };
  CHECK(contains(limited("[1,2,3]", {6, 64}), "7 bytes, the limit for a JSON text is 6"));
  CHECK(limited("[1,2,3]", {7, 64}) == "<no error>");
  CHECK(limited("[[1]]", {100, 2}) == "<no error>");
  CHECK(contains(limited("[[1]]", {100, 1}), "byte 1 (line 1, column 2): $[0]: nested deeper than the limit of 1"));
  CHECK(limited("1", {100, 0}) == "<no error>");

  JsonValue const extremes = parse("[9223372036854775807,-9223372036854775808,18446744073709551615]");
  CHECK(extremes.at(0).as_int(INT64_MIN, INT64_MAX) == INT64_MAX);
  CHECK(extremes.at(1).as_int(INT64_MIN, INT64_MAX) == INT64_MIN);
  CHECK(extremes.at(2).as_double() == 18446744073709551616.0);
  CHECK(contains(error_text(ErrorCode::parse, [&] { return extremes.at(2).as_int(0, INT64_MAX); }),
                 "found 18446744073709551615"));
  std::string const said =
      error_text(ErrorCode::parse, [&] { return parse('"' + std::string(5000, 'x') + '"').as_int(0, 1); });
  CHECK(contains(said, "xxx..."));
  CHECK(said.size() < 200);
}

TEST_CASE("a record inside a larger file counts bytes and lines from the file's start") {
  JsonValue const root = JsonDocument::parse("{\"a\":-1}", "in.jsonl", {}, {1000, 12}).root();
  CHECK(contains(error_text(ErrorCode::parse, [&] { return root.at("a").as_int(0, 1); }),
                 "in.jsonl: byte 1005 (line 12, column 6): $.a: found -1"));
}

TEST_CASE("a text cut anywhere is refused, except where the rest is blank") {
  std::string const text = "{\"k\":[1,-2.5e3,\"\\u20ac\xe2\x82\xac\",true,null,{}],\"m\":{\"n\":[[]]}}\n";
  for (std::size_t length = 0; length < text.size() - 1; ++length)
    CHECK_MESSAGE(refusal(text.substr(0, length)) != "<no error>", "cut at ", length);
  CHECK(refusal(text.substr(0, text.size() - 1)) == "<no error>");
  CHECK(refusal("\xef\xbb\xbf" + text) == "<no error>");  // a byte order mark
}

}  // namespace
