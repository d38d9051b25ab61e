// SPDX-License-Identifier: Apache-2.0
// Writes the project's own golden vectors (golden/own/*.json) from the oracles; links no part of the library.
// Usage: make_own_vectors FOLDER. Exit 0 when all files are written, 2 otherwise.
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "golden/own_vectors/files.hpp"

namespace {

bool write(std::string const& path, std::string const& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) std::cerr << "cannot write " << path << ": does the folder exist?\n";
  return static_cast<bool>(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_own_vectors FOLDER\n";
    return 2;
  }
  try {
    std::string const folder = argv[1];
    bool const written = write(folder + "/alltoall.json", own_vectors::alltoall_file()) &&
                         write(folder + "/eplb_exec.json", own_vectors::eplb_exec_file()) &&
                         write(folder + "/eplb_policy.json", own_vectors::eplb_policy_file());
    return written ? 0 : 2;
  } catch (std::exception const& error) {
    std::cerr << "a case is outside what the oracles define: " << error.what() << "\n";
    return 2;
  }
}
