// SPDX-License-Identifier: Apache-2.0
/// TensorView: a non-owning, strided, run-time typed window on memory of a named space.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "switchyard/types/dtype.hpp"

namespace switchyard {

enum class MemorySpace : std::uint8_t { host, pinned, device };

inline constexpr int kMaxTensorRank = 4;

/// Maps a C++ storage type to its DType; only element types that a view can hold are specialised.
template <typename T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<bf16_t> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<f16_t> {
  static constexpr DType value = DType::f16;
};
template <>
struct dtype_of<fp8_e4m3_t> {
  static constexpr DType value = DType::f8_e4m3;
};
template <>
struct dtype_of<fp8_e5m2_t> {
  static constexpr DType value = DType::f8_e5m2;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct dtype_of<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

/// Extents and strides (in elements), outermost first. Checked: products are computed in 64 bit and refused on
/// overflow.
class TensorShape {
 public:
  TensorShape() = default;
  /// Contiguous, last extent fastest. @throws Error{invalid_argument} for rank > 4, a negative extent, or overflow.
  TensorShape(std::initializer_list<std::int64_t> extents);
  /// @throws Error{invalid_argument} also for a negative stride or unequal lengths.
  TensorShape(std::span<std::int64_t const> extents, std::span<std::int64_t const> strides);

  [[nodiscard]] int rank() const noexcept { return rank_; }
  /// @throws Error{invalid_argument} unless 0 <= dim < rank().
  [[nodiscard]] std::int64_t extent(int dim) const;
  [[nodiscard]] std::int64_t stride(int dim) const;
  [[nodiscard]] std::int64_t num_elements() const noexcept { return num_elements_; }
  [[nodiscard]] bool contiguous() const noexcept;
  friend bool operator==(TensorShape const&, TensorShape const&) = default;

 private:
  int rank_ = 0;
  std::int64_t num_elements_ = 1;
  std::array<std::int64_t, kMaxTensorRank> extents_{};
  std::array<std::int64_t, kMaxTensorRank> strides_{};
};

/// Read-only view. Copyable, never owns; the memory must outlive it.
class ConstTensorView {
 public:
  ConstTensorView() = default;
  ConstTensorView(void const* data, DType dtype, TensorShape shape, MemorySpace space = MemorySpace::host)
      : data_(data), dtype_(dtype), space_(space), shape_(shape) {}
  /// [rows, columns] over a contiguous host span. @throws Error{shape_mismatch} if the span is not rows * columns long.
  template <typename T>
  static ConstTensorView matrix(std::span<T const> data, std::int64_t rows, std::int64_t columns) {
    return check_matrix(ConstTensorView(data.data(), dtype_of<T>::value, {rows, columns}), data.size());
  }

  [[nodiscard]] void const* data() const noexcept { return data_; }
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] MemorySpace space() const noexcept { return space_; }
  [[nodiscard]] TensorShape const& shape() const noexcept { return shape_; }
  [[nodiscard]] std::int64_t extent(int dim) const { return shape_.extent(dim); }
  /// The elements of a contiguous host view. @throws Error{shape_mismatch} for another dtype, space or a strided view.
  template <typename T>
  [[nodiscard]] std::span<T const> elements() const {
    check_access(dtype_of<T>::value);
    return {static_cast<T const*>(data_), static_cast<std::size_t>(shape_.num_elements())};
  }
  /// All bytes of a contiguous host view. @throws Error{shape_mismatch} if it is strided or not on the host.
  [[nodiscard]] std::span<std::byte const> bytes() const;

 private:
  static ConstTensorView check_matrix(ConstTensorView view, std::size_t elements);
  void check_access(DType wanted) const;

  void const* data_ = nullptr;
  DType dtype_ = DType::u8;
  MemorySpace space_ = MemorySpace::host;
  TensorShape shape_{};
};

/// Writable view; converts to ConstTensorView, never back.
class TensorView {
 public:
  TensorView() = default;
  TensorView(void* data, DType dtype, TensorShape shape, MemorySpace space = MemorySpace::host)
      : data_(data), view_(data, dtype, shape, space) {}
  template <typename T>
  static TensorView matrix(std::span<T> data, std::int64_t rows, std::int64_t columns) {
    ConstTensorView::matrix(std::span<T const>(data), rows, columns);
    return TensorView(data.data(), dtype_of<T>::value, {rows, columns});
  }

  operator ConstTensorView() const noexcept { return view_; }  // NOLINT(google-explicit-constructor): widening is safe

  [[nodiscard]] void* data() const noexcept { return data_; }
  [[nodiscard]] DType dtype() const noexcept { return view_.dtype(); }
  [[nodiscard]] MemorySpace space() const noexcept { return view_.space(); }
  [[nodiscard]] TensorShape const& shape() const noexcept { return view_.shape(); }
  [[nodiscard]] std::int64_t extent(int dim) const { return view_.extent(dim); }
  template <typename T>
  [[nodiscard]] std::span<T> elements() const {
    auto const elements = view_.elements<T>();
    return {static_cast<T*>(data_), elements.size()};
  }
  [[nodiscard]] std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), view_.bytes().size()}; }

 private:
  void* data_ = nullptr;
  ConstTensorView view_{};
};

}  // namespace switchyard
