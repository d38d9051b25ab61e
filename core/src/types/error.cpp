// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/error.hpp"

namespace switchyard {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::shape_mismatch: return "shape_mismatch";
    case ErrorCode::invalid_placement: return "invalid_placement";
    case ErrorCode::invalid_plan: return "invalid_plan";
    case ErrorCode::missing_source: return "missing_source";
    case ErrorCode::split_mismatch: return "split_mismatch";
    case ErrorCode::desync: return "desync";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::aborted: return "aborted";
    case ErrorCode::corrupt_data: return "corrupt_data";
    case ErrorCode::parse: return "parse";
    case ErrorCode::io: return "io";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::cuda: return "cuda";
    case ErrorCode::nccl: return "nccl";
    case ErrorCode::internal: return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string const& message, char const* file, int line)
    : std::runtime_error(std::string(to_string(code)) + ": " + message), code_(code), file_(file), line_(line) {}

std::string_view Error::message() const noexcept {
  return std::string_view(what()).substr(to_string(code_).size() + 2);
}

void throw_error(ErrorCode code, std::string const& message, char const* file, int line) {
  throw Error(code, message, file, line);
}

}  // namespace switchyard
