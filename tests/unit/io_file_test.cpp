// SPDX-License-Identifier: Apache-2.0
// Bounded reads and atomic writes. Worked example: writing 5,000 bytes over the file "old" while the process may write
// only 1,000 bytes per file must fail, leave "old" in place and no other file in the folder.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "support/error_text.hpp"
#include "switchyard/io/file.hpp"

namespace {

namespace fs = std::filesystem;
using support::contains;
using support::error_text;
using switchyard::ErrorCode;
using switchyard::io::read_file;
using switchyard::io::write_file_atomically;

/// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "switchyard-io-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(Folder const&) = delete;
  Folder& operator=(Folder const&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::permissions(path_, fs::perms::owner_all, ignored);
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(std::string const& name) const { return (path_ / name).string(); }
  [[nodiscard]] std::set<std::string> names() const {
    std::set<std::string> names;
    for (auto const& entry : fs::directory_iterator(path_)) names.insert(entry.path().filename().string());
    return names;
  }
  [[nodiscard]] fs::path const& path() const { return path_; }

 private:
  fs::path path_;
};

std::string read_refusal(std::string const& path, std::size_t limit = 1 << 20) {
  return error_text(ErrorCode::io, [&] { return read_file(path, limit); });
}
std::string write_refusal(std::string const& path) {
  return error_text(ErrorCode::io, [&] { return (write_file_atomically(path, "new"), 0); });
}

TEST_CASE("what was written is read back, replacing what was there, and nothing else is left") {
  Folder const folder;
  std::string const path = folder / "plan.json";
  std::string const zeros(100000, '\0');
  for (std::string const& content : {std::string("first"), zeros, std::string()}) {
    write_file_atomically(path, content);
    CHECK(read_file(path) == content);
    CHECK(folder.names() == std::set<std::string>{"plan.json"});
  }
}

TEST_CASE("an existing file keeps its permissions, a link keeps pointing") {
  Folder const folder;
  write_file_atomically(folder / "real", "old");
  REQUIRE(::chmod((folder / "real").c_str(), 0640) == 0);
  fs::create_symlink("real", folder / "link");
  write_file_atomically(folder / "link", "new");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_file(folder / "real") == "new");
  CHECK(fs::status(folder / "real").permissions() == fs::perms(0640));

  fs::create_symlink("loop", folder / "loop");
  CHECK(contains(write_refusal(folder / "loop"), "loop"));
  CHECK(folder.names() == std::set<std::string>{"link", "loop", "real"});
}

TEST_CASE("read limits are exact") {
  Folder const folder;
  write_file_atomically(folder / "five", "12345");
  CHECK(read_file(folder / "five", 5) == "12345");
  CHECK(contains(read_refusal(folder / "five", 4), "has 5 bytes, the limit is 4"));
}

TEST_CASE("what is no regular file is refused by kind, without waiting for it") {
  Folder const folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(contains(read_refusal(folder / "fifo"), "is a FIFO, a regular file is required"));
  CHECK(contains(write_refusal(folder / "fifo"), "is a FIFO"));
  CHECK(contains(read_refusal(folder.path().string()), "is a directory"));
  CHECK(contains(write_refusal(folder.path().string()), "is a directory"));
  CHECK(contains(read_refusal("/dev/zero"), "is a device"));
  CHECK(contains(write_refusal("/dev/null"), "is a device"));
  CHECK(contains(read_refusal(folder / "absent"), "absent': No such file or directory"));
  CHECK(contains(read_refusal(""), "must not be empty"));
  CHECK(contains(write_refusal(std::string("a\0b", 3)), "NUL byte"));
  CHECK(folder.names() == std::set<std::string>{"fifo"});
}

TEST_CASE("a write that fails leaves the old file and no temporary") {
  Folder const folder;
  CHECK(contains(write_refusal(folder / "absent/plan.json"), "No such file or directory"));
  write_file_atomically(folder / "plan.json", "old");
  CHECK(contains(write_refusal(folder / "plan.json/below"), "Not a directory"));
  CHECK(read_file(folder / "plan.json") == "old");
  CHECK(folder.names() == std::set<std::string>{"plan.json"});
  if (::geteuid() == 0) {
    MESSAGE("skipped: root may write into every folder");
    return;
  }
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(contains(write_refusal(folder / "plan.json"), "Permission denied"));
  fs::permissions(folder.path(), fs::perms::owner_all);
  CHECK(read_file(folder / "plan.json") == "old");
  CHECK(folder.names() == std::set<std::string>{"plan.json"});
}

TEST_CASE("a disk that fills up in the middle of a write leaves the old file and no temporary") {
  Folder const folder;
  write_file_atomically(folder / "plan.json", "old");
  struct rlimit before {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit small = before;
  small.rlim_cur = 1000;
  auto const old_handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string const said = error_text(
      ErrorCode::io, [&] { return (write_file_atomically(folder / "plan.json", std::string(5000, 'x')), 0); });
  CHECK(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(contains(said, "cannot write"));
  CHECK(contains(said, "File too large"));
  CHECK(read_file(folder / "plan.json") == "old");
  CHECK(folder.names() == std::set<std::string>{"plan.json"});
}

}  // namespace
