// SPDX-License-Identifier: Apache-2.0
/// FewDispatch: what FewRows does with the rows of a dispatch. A thread has a word of a row, or a word every so often;
/// its first stays in a register between sending and keeping.
#pragma once

#include "fused_few.cuh"

namespace switchyard::cuda {

class FewDispatch {
 public:
  __device__ FewDispatch(FusedDispatchParams const& params, FewShared const& shared)
      : params_(params),
        windows_(params.call.windows),
        shared_(shared),
        words_(params.row_bytes / static_cast<std::int64_t>(sizeof(uint4))),
        num_remote_(count_of(params.remote)),
        thread_(threadIdx.x) {}

  [[nodiscard]] __device__ std::int64_t num_produce() const { return params_.num_tokens; }
  [[nodiscard]] __device__ std::int64_t num_consume() const { return num_remote_; }

  __device__ void look_at_produced(std::int64_t token) {
    if (token >= params_.num_tokens) return;
    sent_ = params_.sent_begin[token];
    sent_end_ = params_.sent_begin[token + 1];
    own_ = params_.own_terms[token];
    if (thread_ < words_) word_ = __ldcs(token_words(token) + thread_);
    if (thread_ < params_.columns) weight_ = token_weights(token)[thread_];
  }
  __device__ void look_at_consumed(std::int64_t i) {
    if (i >= params_.remote.count) return;
    slot_ = params_.remote.slot[i];
    terms_ = params_.remote.terms[i];
  }

  __device__ void send(std::int64_t token, std::uint64_t generation) {
    for (std::int32_t k = sent_; k < sent_end_; ++k) {
      std::byte* const slot = slot_there(k, generation);
      auto* const there = reinterpret_cast<uint4*>(slot);
      for_words([&](std::int64_t w) { there[w] = word_of(token, w); });
      auto* const weights = reinterpret_cast<float*>(slot + windows_.weights_offset);
      for (std::int64_t column = thread_; column < params_.columns; column += workers_of_block())
        weights[column] = column == thread_ ? weight_ : token_weights(token)[column];
    }
  }
  [[nodiscard]] __device__ std::uint64_t* tag(std::int64_t token, std::uint64_t generation) const {
    std::int64_t const k = params_.sent_begin[token] + lane_of_courier();
    if (k >= params_.sent_begin[token + 1]) return nullptr;
    return tag_of(windows_, shared_.peers[params_.sent_to[k]], generation, params_.sent_slot[k]);
  }

  __device__ void keep(std::int64_t token) {
    Places const places(params_.places, own_);
    for_words([&](std::int64_t w) { store(word_of(token, w), w, places); });
    for (std::int64_t i = own_.begin + thread_; i < own_.end; i += workers_of_block())
      params_.term_weights[i] = token_weights(token)[params_.term_column[i]];
  }

  __device__ void expect(std::int64_t) {
    places_ = Places(params_.places, terms_);
    if (terms_.begin + thread_ < terms_.end) column_ = params_.term_column[terms_.begin + thread_];
  }
  [[nodiscard]] __device__ std::int32_t slot(std::int64_t i) const {
    return lane_of_courier() == 0 ? params_.remote.slot[i] : -1;
  }
  __device__ void consume(std::int64_t, std::uint64_t generation) {
    std::byte const* const slot = slot_of(windows_, windows_.own, generation, slot_);
    auto const* const from = reinterpret_cast<uint4 const*>(slot);
    for_words([&](std::int64_t w) { store(__ldcs(from + w), w, places_); });
    auto const* const weights = reinterpret_cast<float const*>(slot + windows_.weights_offset);
    for (std::int64_t i = places_.first + thread_; i < places_.end; i += workers_of_block())
      params_.term_weights[i] = weights[i == places_.first + thread_ ? column_ : params_.term_column[i]];
  }

  __device__ void clear() const { clear_dispatched(params_); }

 private:
  /// Where one row goes on to; the first few in registers.
  struct Places {
    static constexpr int kHeld = 4;
    Places() = default;
    __device__ Places(std::int32_t const* all, FusedTerms const& terms) : first(terms.begin), end(terms.end) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) held[i] = first + i < end ? all[first + i] : 0;
    }
    std::int64_t first = 0;
    std::int64_t end = 0;
    std::int32_t held[kHeld] = {};
  };

  template <typename Act>
  __device__ void for_words(Act const& act) const {
    for (std::int64_t w = thread_; w < words_; w += workers_of_block()) act(w);
  }
  [[nodiscard]] __device__ uint4 const* token_words(std::int64_t token) const {
    return static_cast<uint4 const*>(params_.tokens) + token * words_;
  }
  [[nodiscard]] __device__ float const* token_weights(std::int64_t token) const {
    return params_.weights + token * params_.columns;
  }
  [[nodiscard]] __device__ uint4 word_of(std::int64_t token, std::int64_t w) const {
    return w == thread_ ? word_ : __ldcs(token_words(token) + w);
  }
  [[nodiscard]] __device__ std::byte* slot_there(std::int32_t k, std::uint64_t generation) const {
    return slot_of(windows_, shared_.peers[params_.sent_to[k]], generation, params_.sent_slot[k]);
  }
  __device__ void store(uint4 word, std::int64_t w, Places const& places) const {
    auto* const output = static_cast<uint4*>(params_.output) + w;
#pragma unroll
    for (int i = 0; i < Places::kHeld; ++i)
      if (places.first + i < places.end) __stcs(output + places.held[i] * words_, word);
    for (std::int64_t i = places.first + Places::kHeld; i < places.end; ++i)
      __stcs(output + params_.places[i] * words_, word);
  }

  FusedDispatchParams const& params_;
  FusedWindows const& windows_;
  FewShared const& shared_;
  std::int64_t words_;
  std::int64_t num_remote_;
  std::int64_t thread_;
  uint4 word_ = {};
  float weight_ = 0;
  std::int32_t sent_ = 0;
  std::int32_t sent_end_ = 0;
  FusedTerms own_{};
  std::int32_t slot_ = -1;
  FusedTerms terms_{};
  std::int32_t column_ = 0;
  Places places_;
};

}  // namespace switchyard::cuda
