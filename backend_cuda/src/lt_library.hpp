// SPDX-License-Identifier: Apache-2.0
/// LtLibrary: the functions of cublasLt, which is loaded when it is first used: it takes a quarter of a second and
/// hundreds of megabytes, which programs that never multiply by it should not spend.
#pragma once

#include <cublasLt.h>

namespace switchyard::cuda {

struct LtLibrary {
  decltype(&cublasLtGetVersion) get_version = nullptr;
  decltype(&cublasLtGetStatusName) status_name = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmulDescCreate) product_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) product_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) product_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
};

/// Loads a library of that name; it stays loaded. @throws Error{unsupported} with what the loader says
[[nodiscard]] LtLibrary load_lt_library(char const* name);

/// The library of the toolkit that this was built with, or else the one of its version that the loader finds; loaded
/// once. @throws as load_lt_library; the next call tries again
[[nodiscard]] LtLibrary const& lt_library();

/// @throws Error{cuda} naming the call and cuBLAS's reason unless it is success
void require_cublas(cublasStatus_t status, char const* call);

/// Owns a descriptor of cublasLt.
template <typename Handle>
class LtOwner {
 public:
  explicit LtOwner(cublasStatus_t (*destroy)(Handle)) : destroy_(destroy) {}
  ~LtOwner() {
    if (handle_ != nullptr) static_cast<void>(destroy_(handle_));
  }
  LtOwner(LtOwner const&) = delete;
  LtOwner& operator=(LtOwner const&) = delete;
  [[nodiscard]] Handle get() const noexcept { return handle_; }
  /// Where a function that creates one writes it.
  [[nodiscard]] Handle* put() noexcept { return &handle_; }

 private:
  Handle handle_ = nullptr;
  cublasStatus_t (*destroy_)(Handle);
};

}  // namespace switchyard::cuda
