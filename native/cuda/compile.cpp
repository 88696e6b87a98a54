#include "compile.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "../core/error.h"
#include "geometry.h"
#include "nvrtc.h"
#include "opened.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

// ---- The driver, opened at run time ------------------------------------------------------------------------------------------

struct Driver {
  int (*load)(void** module, const void* image);
  int (*function)(void** function, void* module, const char* name);
  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void* stream, void** parameters,
                void** extra);
  int (*error_name)(int, const char**);
};

const Driver* driver() {
  static const Driver* const found = []() -> const Driver* {
    void* const library = open_library("libcuda.so.1");
    Driver d = {};
    const bool complete = library && find(library, "cuModuleLoadData", &d.load) && find(library, "cuModuleGetFunction", &d.function) &&
                          find(library, "cuLaunchKernel", &d.launch) && find(library, "cuGetErrorName", &d.error_name);
    return complete ? new Driver(d) : nullptr;
  }();
  return found;
}

void check_driver(int error, const char* what) {
  if (error == 0) return;
  const char* name = nullptr;
  driver()->error_name(error, &name);
  fail("program: %s failed: %s", what, name ? name : "unknown error");
}

// ---- The cache on disk -----------------------------------------------------------------------------------------------------------

uint64_t hash(const std::string& text, uint64_t seed) {
  uint64_t value = seed;
  for (unsigned char c : text) value = (value ^ c) * 1099511628211u;
  return value;
}

// Where the compiled form of a text is kept; empty where there is no such place.
std::string cached_path(const std::string& text) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string folder;
  if (cache && *cache) folder = cache;
  else if (home && *home) folder = std::string(home) + "/.cache";
  else return {};
  mkdir(folder.c_str(), 0755);
  folder += "/vantage";
  mkdir(folder.c_str(), 0755);
  char name[64];
  std::snprintf(name, sizeof name, "/%016llx%016llx.code", static_cast<unsigned long long>(hash(text, 14695981039346656037u)),
                static_cast<unsigned long long>(hash(text, 1099511628211u)));
  return folder + name;
}

// Behind the code in a file: what it must be, as the driver is told nothing of its length and would read on behind a part of it.
struct Seal {
  uint64_t size, hash;
};
Seal seal_of(const std::vector<char>& bytes) { return {bytes.size(), hash(std::string(bytes.data(), bytes.size()), 14695981039346656037u)}; }

// What was written there; nothing where it is not whole. Not streams, which bring locales and newer symbols of glibc into the library.
std::vector<char> read_file(const std::string& path) {
  std::vector<char> bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) return bytes;
  char piece[1 << 16];
  while (const size_t read = std::fread(piece, 1, sizeof piece, file)) bytes.insert(bytes.end(), piece, piece + read);
  if (std::ferror(file)) bytes.clear();
  std::fclose(file);
  Seal found = {};
  if (bytes.size() <= sizeof found) return {};
  std::memcpy(&found, bytes.data() + bytes.size() - sizeof found, sizeof found);
  bytes.resize(bytes.size() - sizeof found);
  const Seal expected = seal_of(bytes);
  return found.size == expected.size && found.hash == expected.hash ? bytes : std::vector<char>();
}

// Whole or not at all: written beside, under a name that nobody else has, and renamed. A place that cannot be written is no failure.
void write_file(const std::string& path, const std::vector<char>& bytes) {
  std::string draft = path + ".XXXXXX";
  const int descriptor = mkstemp(draft.data());
  if (descriptor < 0) return;
  std::FILE* file = fdopen(descriptor, "wb");
  if (!file) {
    close(descriptor);
    unlink(draft.c_str());
    return;
  }
  const Seal seal = seal_of(bytes);
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && std::fwrite(&seal, sizeof seal, 1, file) == 1;
  if (std::fclose(file) != 0 || !written || rename(draft.c_str(), path.c_str()) != 0) unlink(draft.c_str());
}

void* load(const std::vector<char>& image) {
  void *module = nullptr, *function = nullptr;
  check_driver(driver()->load(&module, image.data()), "loading code");
  check_driver(driver()->function(&function, module, "vantage_program"), "finding the kernel");
  return function;
}

}  // namespace

bool can_compile() { return has_nvrtc() && driver(); }

void* compile(const std::string& source) {
  static auto* const kept = new std::unordered_map<std::string, void*>;
  const auto found = kept->find(source);
  if (found != kept->end()) return found->second;
  if (!can_compile()) fail("program: there is no NVRTC to compile it with (libnvrtc of CUDA 12 or later)");
  const std::string text = kPrelude + source;
  const std::string path = cached_path(text + nvrtc_target());
  void* function = nullptr;
  const std::vector<char> before = path.empty() ? std::vector<char>() : read_file(path);
  if (!before.empty()) {
    try {
      function = load(before);
    } catch (const Error&) {
      // Damaged, or not for this device after all: it is compiled anew.
    }
  }
  if (!function) {
    const std::vector<char> image = compile_text(text);
    function = load(image);
    if (!path.empty()) write_file(path, image);
  }
  return kept->emplace(source, function).first->second;
}

void launch_compiled(void* kernel, const void* parameter, size_t, int64_t blocks) {
  void* parameters[] = {const_cast<void*>(parameter)};
  check_driver(driver()->launch(kernel, static_cast<unsigned>(blocks), 1, 1, kThreads, 1, 1, 0, stream(), parameters, nullptr), "the launch");
}

}  // namespace vantage::cuda
