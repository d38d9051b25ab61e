// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard::io {
namespace {

[[noreturn]] void fail_with_errno(std::string_view what, std::string const& path, int error) {
  throw_error(ErrorCode::io, fmt::format("cannot {} '{}': {}", what, path, std::generic_category().message(error)));
}

/// Closes on every way out.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor const&) = delete;
  Descriptor& operator=(Descriptor const&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  /// @return close's result: on network file systems a failed write may show only here.
  [[nodiscard]] int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

void require_regular(struct stat const& status, std::string const& path) {
  SWITCHYARD_REQUIRE(S_ISREG(status.st_mode), io, "'{}' is {}, a regular file is required", path,
                     kind_of(status.st_mode));
}

/// Reads until the end of the file, which may have grown or shrunk since its size was asked for.
std::string read_all(int fd, std::size_t size_hint, std::size_t max_bytes, std::string const& path) {
  std::string content(size_hint, '\0');
  std::size_t filled = 0;
  while (true) {
    if (filled == content.size()) content.resize(filled + 4096);  // one more read tells whether this is the end
    ssize_t const got = ::read(fd, content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_with_errno("read", path, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    SWITCHYARD_REQUIRE(filled <= max_bytes, io, "'{}' grew beyond the limit of {} bytes while being read", path,
                       max_bytes);
  }
  content.resize(filled);
  return content;
}

/// `path` with a symbolic link at its end followed, so that a link is kept and its target replaced.
std::string resolve_target(std::string path) {
  for (int hops = 0; hops < 40; ++hops) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      if (errno == ENOENT) return path;
      fail_with_errno("write", path, errno);
    }
    if (!S_ISLNK(status.st_mode)) {
      require_regular(status, path);
      return path;
    }
    std::string target(4096, '\0');
    ssize_t const length = ::readlink(path.c_str(), target.data(), target.size());
    if (length < 0) fail_with_errno("follow the link", path, errno);
    target.resize(static_cast<std::size_t>(length));
    std::size_t const slash = path.rfind('/');
    path = target.starts_with('/') || slash == std::string::npos ? target : path.substr(0, slash + 1) + target;
  }
  fail_with_errno("follow the link", path, ELOOP);
}

std::string parent_of(std::string const& path) {
  std::size_t const slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// The temporary beside the target. Removes its file unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string const& target) {
    static std::atomic<unsigned> counter{0};
    for (int attempt = 0; attempt < 100; ++attempt) {
      path_ = fmt::format("{}.tmp-{}-{}", target, ::getpid(), counter.fetch_add(1));
      fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
      if (fd_ >= 0) return;
      if (errno != EEXIST) break;
    }
    fail_with_errno("create a temporary beside", target, errno);
  }
  TemporaryFile(TemporaryFile const&) = delete;
  TemporaryFile& operator=(TemporaryFile const&) = delete;
  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
  }

  void write_and_sync(std::string_view content, std::string const& target) {
    Descriptor file(std::exchange(fd_, -1));
    struct stat existing {};
    if (::stat(target.c_str(), &existing) == 0 && ::fchmod(file.get(), existing.st_mode & 0777) != 0)
      fail_with_errno("keep the permissions of", target, errno);
    while (!content.empty()) {
      ssize_t const put = ::write(file.get(), content.data(), content.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail_with_errno("write", target, errno);
      content.remove_prefix(static_cast<std::size_t>(put));
    }
    if (::fsync(file.get()) != 0) fail_with_errno("sync", target, errno);
    if (file.close() != 0) fail_with_errno("close", target, errno);
  }

  void rename_to(std::string const& target) {
    if (std::rename(path_.c_str(), target.c_str()) != 0) fail_with_errno("replace", target, errno);
    renamed_ = true;
  }

 private:
  std::string path_;
  int fd_ = -1;
  bool renamed_ = false;
};

/// Makes the rename durable. Some file systems refuse to sync a directory; the data itself is already on disk then.
void sync_directory(std::string const& directory) {
  Descriptor const opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() >= 0 && ::fsync(opened.get()) != 0 && errno != EINVAL && errno != EROFS)
    fail_with_errno("sync the directory", directory, errno);
}

void require_no_nul(std::string const& path) {
  SWITCHYARD_REQUIRE(!path.empty() && path.find('\0') == std::string::npos, io,
                     "a file name must not be empty or hold a NUL byte");
}

}  // namespace

std::string read_file(std::string const& path, std::size_t max_bytes) {
  require_no_nul(path);
  // O_NONBLOCK: opening a FIFO without a writer must not hang; regular files ignore it.
  Descriptor const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) fail_with_errno("open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_with_errno("inspect", path, errno);
  require_regular(status, path);
  auto const size = static_cast<std::size_t>(status.st_size);
  SWITCHYARD_REQUIRE(size <= max_bytes, io, "'{}' has {} bytes, the limit is {}: split the file", path, size,
                     max_bytes);
  return read_all(file.get(), size + 1, max_bytes, path);
}

void write_file_atomically(std::string const& path, std::string_view content) {
  require_no_nul(path);
  std::string const target = resolve_target(path);
  TemporaryFile temporary(target);
  temporary.write_and_sync(content, target);
  temporary.rename_to(target);
  sync_directory(parent_of(target));
}

}  // namespace switchyard::io
