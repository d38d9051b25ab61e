// SPDX-License-Identifier: Apache-2.0
#include "lt_library.hpp"

#include <dlfcn.h>

#include <string>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cuda {
namespace {

struct Loaded {
  void* handle;
  char const* name;
};

template <typename Function>
void find(Loaded const& library, char const* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library.handle, name));
  SWITCHYARD_REQUIRE(function != nullptr, unsupported,
                     "{} has no function {}: it is not the cuBLAS {} that this was built for; install that version, or "
                     "use the exact expert engine",
                     library.name, name, CUBLAS_VERSION);
}

}  // namespace

LtLibrary load_lt_library(char const* name) {
  Loaded const library{dlopen(name, RTLD_NOW | RTLD_LOCAL), name};
  char const* const reason = library.handle == nullptr ? dlerror() : nullptr;
  SWITCHYARD_REQUIRE(library.handle != nullptr, unsupported,
                     "cuBLAS could not be loaded from {}: {}; install it or name its folder in LD_LIBRARY_PATH, or use "
                     "the exact expert engine",
                     name, reason == nullptr ? "no reason given" : reason);
  LtLibrary on;
  find(library, "cublasLtGetVersion", on.get_version);
  find(library, "cublasLtGetStatusName", on.status_name);
  find(library, "cublasLtGetStatusString", on.status_string);
  find(library, "cublasLtCreate", on.create);
  find(library, "cublasLtDestroy", on.destroy);
  find(library, "cublasLtMatmulDescCreate", on.product_create);
  find(library, "cublasLtMatmulDescDestroy", on.product_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", on.product_set);
  find(library, "cublasLtMatrixLayoutCreate", on.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", on.layout_destroy);
  find(library, "cublasLtMatrixLayoutSetAttribute", on.layout_set);
  find(library, "cublasLtMatmulPreferenceCreate", on.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", on.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", on.preference_set);
  find(library, "cublasLtMatmulAlgoGetHeuristic", on.heuristic);
  find(library, "cublasLtMatmul", on.matmul);
  return on;
}

LtLibrary const& lt_library() {
  static LtLibrary const library = [] {
    try {
      return load_lt_library(SWITCHYARD_CUBLASLT_PATH);
    } catch (Error const&) {
      return load_lt_library(("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR)).c_str());
    }
  }();
  return library;
}

void require_cublas(cublasStatus_t status, char const* call) {
  SWITCHYARD_REQUIRE(status == CUBLAS_STATUS_SUCCESS, cuda, "{} failed with {}: {}", call,
                     lt_library().status_name(status), lt_library().status_string(status));
}

}  // namespace switchyard::cuda
