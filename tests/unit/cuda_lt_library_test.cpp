// SPDX-License-Identifier: Apache-2.0
// cublasLt loaded at run time: a library that is not there and one that is another are named. Needs no GPU.
//
// By hand: libm has no cublasLtGetVersion, so loading it says so; the toolkit's own says the version of its header.
#include <doctest/doctest.h>

#include "lt_library.hpp"
#include "support/error_text.hpp"

using support::contains;
using support::error_text;
using switchyard::ErrorCode;
namespace cuda = switchyard::cuda;

TEST_CASE("a library that cannot be loaded is named with the loader's reason") {
  std::string const text =
      error_text(ErrorCode::unsupported, [] { static_cast<void>(cuda::load_lt_library("libno_such_cublas.so.1")); });
  CHECK(contains(text, "libno_such_cublas.so.1"));
  CHECK(contains(text, "No such file"));
}

TEST_CASE("another library is refused by the function that it lacks") {
  std::string const text =
      error_text(ErrorCode::unsupported, [] { static_cast<void>(cuda::load_lt_library("libm.so.6")); });
  CHECK(contains(text, "libm.so.6 has no function cublasLtGetVersion"));
}

TEST_CASE("the toolkit's library is loaded once") {
  try {
    cuda::LtLibrary const& library = cuda::lt_library();
    CHECK(library.get_version() / 10000 == CUBLAS_VER_MAJOR);
    CHECK(&cuda::lt_library() == &library);
  } catch (switchyard::Error const& error) {
    MESSAGE("skipped: " << error.what());
  }
}
