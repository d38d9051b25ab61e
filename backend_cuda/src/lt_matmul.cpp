// SPDX-License-Identifier: Apache-2.0
#include "lt_matmul.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// Sizes that share an algorithm end at the next quarter of a power of two.
std::int64_t class_of(std::int64_t size) {
  std::int64_t const step = std::max<std::int64_t>(
      static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1)))) / 4, 1);
  return (size + step - 1) / step * step;
}

MatmulShape largest_of_class(MatmulShape shape) {
  // An expert's rows vary from call to call: steps of a weight gradient, else rows of the result.
  std::int64_t& varying = shape.lines == ChainLines::both_across ? shape.steps : shape.rows;
  varying = class_of(varying);
  return shape;
}

/// cuBLAS's descriptors of one product. cuBLAS counts columns first, so the product is out^T = right^T left^T.
struct Descriptors {
  LtLibrary const& lt = lt_library();
  LtOwner<cublasLtMatmulDesc_t> product{lt.product_destroy};
  LtOwner<cublasLtMatrixLayout_t> first{lt.layout_destroy};   ///< the right side
  LtOwner<cublasLtMatrixLayout_t> second{lt.layout_destroy};  ///< the left side
  LtOwner<cublasLtMatrixLayout_t> result{lt.layout_destroy};

  explicit Descriptors(MatmulShape const& shape) {
    require_cublas(lt.product_create(product.put(), CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    bool const right_along = shape.lines == ChainLines::both_along;
    bool const left_along = shape.lines != ChainLines::both_across;
    set(CUBLASLT_MATMUL_DESC_TRANSA, right_along ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, left_along ? CUBLAS_OP_N : CUBLAS_OP_T);
    layout(first, shape.operands, shape.columns, shape.steps, right_along);
    layout(second, shape.operands, shape.rows, shape.steps, left_along);
    layout(result, shape.result, shape.rows, shape.columns, true);
  }
  void set_operands(MatmulShape const& shape, MatmulOperands const& operands) {
    if (shape.batch > 1) {
      spread(first, shape.batch, operands.right_stride);
      spread(second, shape.batch, operands.left_stride);
      spread(result, shape.batch, operands.out_stride);
    }
    if (shape.biased) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, operands.bias_stride);
    }
    if (shape.scales == ScaleSpan::none) return;
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, right_mode(shape.scales));
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, left_mode(shape.scales));
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.right_scales);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.left_scales);
  }

 private:
  static std::int32_t left_mode(ScaleSpan scales) {
    if (scales == ScaleSpan::block) return CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
    return scales == ScaleSpan::matrix ? CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F
                                       : CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
  }
  static std::int32_t right_mode(ScaleSpan scales) {
    return scales == ScaleSpan::block ? CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F : left_mode(scales);
  }
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T const& value) {
    require_cublas(lt.product_set(product.get(), attribute, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  }
  template <typename T>
  void set(LtOwner<cublasLtMatrixLayout_t> const& to, cublasLtMatrixLayoutAttribute_t attribute, T const& value) {
    require_cublas(lt.layout_set(to.get(), attribute, &value, sizeof(value)), "cublasLtMatrixLayoutSetAttribute");
  }
  void spread(LtOwner<cublasLtMatrixLayout_t> const& to, std::int32_t batch, std::int64_t stride) {
    set(to, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch);
    set(to, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  /// @param along the lines run along the steps: a column of cuBLAS's is a line
  void layout(LtOwner<cublasLtMatrixLayout_t>& to, cudaDataType_t type, std::int64_t lines, std::int64_t steps,
              bool along) {
    std::int64_t const inner = along ? steps : lines;
    std::int64_t const outer = along ? lines : steps;
    require_cublas(
        lt.layout_create(to.put(), type, static_cast<std::uint64_t>(inner), static_cast<std::uint64_t>(outer), inner),
        "cublasLtMatrixLayoutCreate");
  }
};

/// What an algorithm may use.
struct Preference {
  LtLibrary const& lt = lt_library();
  LtOwner<cublasLtMatmulPreference_t> made{lt.preference_destroy};

  Preference(MatmulShape const& shape, std::uint64_t workspace_bytes) {
    require_cublas(lt.preference_create(made.put()), "cublasLtMatmulPreferenceCreate");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    for (auto const attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(attribute, shape.alignment);
  }

 private:
  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T const& value) {
    require_cublas(lt.preference_set(made.get(), attribute, &value, sizeof(value)),
                   "cublasLtMatmulPreferenceSetAttribute");
  }
};

std::string_view name_of(ScaleSpan scales) {
  constexpr std::array<std::string_view, 4> kNames = {"", " with a scale per matrix", " with a scale per line",
                                                      " with scales per block of 128"};
  return kNames[static_cast<std::size_t>(scales)];
}

cublasLtMatmulAlgo_t choose(cublasLtHandle_t handle, MatmulShape const& shape, DeviceBuffer const& workspace) {
  Descriptors on(shape);
  MatmulOperands somewhere;  // which operands there are matters, where they lie does not
  somewhere.left_stride = shape.rows * shape.steps;
  somewhere.right_stride = shape.columns * shape.steps;
  somewhere.out_stride = shape.rows * shape.columns;
  somewhere.left_scales = somewhere.right_scales = workspace.as<float const>();
  // cuBLAS takes the bias's alignment from its address: this one is aligned as the shape says, and no better.
  somewhere.bias = workspace.as<std::byte const>() + shape.alignment;
  somewhere.bias_stride = shape.columns;
  on.set_operands(shape, somewhere);
  Preference const preference(shape, to_size(workspace.size_bytes()));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  cublasStatus_t const status =
      on.lt.heuristic(handle, on.product.get(), on.first.get(), on.second.get(), on.result.get(), on.result.get(),
                      preference.made.get(), 1, &found, &count);
  SWITCHYARD_REQUIRE(
      status != CUBLAS_STATUS_NOT_SUPPORTED && (status != CUBLAS_STATUS_SUCCESS || count > 0), unsupported,
      "cublasLt has no product of {} x {} results over {} steps for types {} and {}{}{}, operands aligned to "
      "{} bytes: this GPU or version lacks it; use the exact engine",
      shape.rows, shape.columns, shape.steps, static_cast<int>(shape.operands), static_cast<int>(shape.result),
      name_of(shape.scales), shape.biased ? " plus a bias" : "", shape.alignment);
  require_cublas(status, "cublasLtMatmulAlgoGetHeuristic");
  return found.algo;
}

}  // namespace

std::uint32_t alignment_of(MatmulOperands const& operands, std::int64_t operand_bytes,
                           std::int64_t result_bytes) noexcept {
  constexpr std::uintptr_t kMost = 256;
  std::uintptr_t bits = kMost;
  for (void const* const address :
       {operands.left, operands.right, static_cast<void const*>(operands.out), operands.bias})
    bits |= reinterpret_cast<std::uintptr_t>(address);
  for (std::int64_t const bytes : {operands.left_stride * operand_bytes, operands.right_stride * operand_bytes,
                                   operands.out_stride * result_bytes, operands.bias_stride * result_bytes})
    bits |= static_cast<std::uintptr_t>(bytes);
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

LtMatmul::LtMatmul() {
  require_cublas(lt_library().create(&handle_), "cublasLtCreate");
}

LtMatmul::~LtMatmul() {
  static_cast<void>(lt_library().destroy(handle_));
}

cublasLtMatmulAlgo_t const& LtMatmul::algorithm_of(MatmulShape const& shape, DeviceBuffer const& workspace) {
  MatmulShape const key = largest_of_class(shape);
  auto known = chosen_.find(key);
  if (known == chosen_.end()) known = chosen_.emplace(key, choose(handle_, key, workspace)).first;
  return known->second;
}

void LtMatmul::require_offered(MatmulShape const& shape, DeviceBuffer const& workspace) {
  static_cast<void>(algorithm_of(shape, workspace));
}

void LtMatmul::multiply(MatmulShape const& shape, MatmulOperands const& operands, DeviceBuffer const& workspace,
                        StreamView stream) {
  cublasLtMatmulAlgo_t const& chosen = algorithm_of(shape, workspace);
  Descriptors on(shape);
  on.set_operands(shape, operands);
  float const one = 1.0F;
  float const zero = 0.0F;
  auto const issue = [&](cublasLtMatmulAlgo_t const* algorithm) {
    return on.lt.matmul(handle_, on.product.get(), &one, operands.right, on.first.get(), operands.left, on.second.get(),
                        &zero, operands.out, on.result.get(), operands.out, on.result.get(), algorithm,
                        workspace.data(), to_size(workspace.size_bytes()), stream.handle());
  };
  cublasStatus_t const status = issue(&chosen);
  // What suits the largest size of a class may not take a smaller one; then cuBLAS chooses for this call.
  if (status != CUBLAS_STATUS_SUCCESS) require_cublas(issue(nullptr), "cublasLtMatmul");
}

}  // namespace switchyard::cuda
