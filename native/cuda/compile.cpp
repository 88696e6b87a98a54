#include "compile.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <unordered_map>
#include <vector>

#include "../core/error.h"
#include "geometry.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

// ---- NVRTC and the driver, opened at run time ----------------------------------------------------------------------------------

struct Nvrtc {
  using Handle = struct OpaqueProgram*;
  int (*version)(int*, int*);
  int (*create)(Handle*, const char* source, const char* name, int headers, const char* const* header_texts, const char* const* header_names);
  int (*compile)(Handle, int options, const char* const* texts);
  int (*log_size)(Handle, size_t*);
  int (*log)(Handle, char*);
  int (*cubin_size)(Handle, size_t*);
  int (*cubin)(Handle, char*);
  int (*destroy)(Handle*);
  int major = 0, minor = 0;
};

template <class F>
bool find(void* library, const char* name, F** function) {
  *function = reinterpret_cast<F*>(dlsym(library, name));
  return *function != nullptr;
}

void* open_first(const std::vector<const char*>& names) {
  for (const char* name : names) {
    if (!name || !*name) continue;
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

const Nvrtc* nvrtc() {
  static const Nvrtc* const found = []() -> const Nvrtc* {
    void* library = open_first({std::getenv("VANTAGE_NVRTC"), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                "/usr/local/cuda/lib64/libnvrtc.so", "/opt/cuda/lib64/libnvrtc.so"});
    if (!library) return nullptr;
    Nvrtc n = {};
    const bool complete = find(library, "nvrtcVersion", &n.version) && find(library, "nvrtcCreateProgram", &n.create) &&
                          find(library, "nvrtcCompileProgram", &n.compile) && find(library, "nvrtcGetProgramLogSize", &n.log_size) &&
                          find(library, "nvrtcGetProgramLog", &n.log) && find(library, "nvrtcGetCUBINSize", &n.cubin_size) &&
                          find(library, "nvrtcGetCUBIN", &n.cubin) && find(library, "nvrtcDestroyProgram", &n.destroy);
    // Before CUDA 12 it does not know C++20.
    if (!complete || n.version(&n.major, &n.minor) != 0 || n.major < 12) return nullptr;
    return new Nvrtc(n);
  }();
  return found;
}

struct Driver {
  int (*load)(void** module, const void* image);
  int (*function)(void** function, void* module, const char* name);
  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void* stream, void** parameters,
                void** extra);
  int (*error_name)(int, const char**);
};

const Driver* driver() {
  static const Driver* const found = []() -> const Driver* {
    void* library = open_first({"libcuda.so.1"});
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
  std::snprintf(name, sizeof name, "/%016llx%016llx.cubin", static_cast<unsigned long long>(hash(text, 14695981039346656037u)),
                static_cast<unsigned long long>(hash(text, 1099511628211u)));
  return folder + name;
}

// Not streams, which bring locales and newer symbols of glibc into the library.
std::vector<char> read_file(const std::string& path) {
  std::vector<char> bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) return bytes;
  char piece[1 << 16];
  while (const size_t read = std::fread(piece, 1, sizeof piece, file)) bytes.insert(bytes.end(), piece, piece + read);
  if (std::ferror(file)) bytes.clear();
  std::fclose(file);
  return bytes;
}

// Whole or not at all: written beside and renamed. A place that cannot be written is no failure.
void write_file(const std::string& path, const std::vector<char>& bytes) {
  const std::string draft = path + "." + std::to_string(getpid());
  std::FILE* file = std::fopen(draft.c_str(), "wb");
  if (!file) return;
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (std::fclose(file) != 0 || !written) {
    unlink(draft.c_str());
    return;
  }
  if (rename(draft.c_str(), path.c_str()) != 0) unlink(draft.c_str());
}

// ---- Compilation -------------------------------------------------------------------------------------------------------------------

std::vector<char> compile_text(const std::string& text, const std::string& architecture) {
  const Nvrtc& n = *nvrtc();
  Nvrtc::Handle program = nullptr;
  if (n.create(&program, text.c_str(), "vantage_program.cu", 0, nullptr, nullptr) != 0) fail("program: NVRTC does not start");
  struct Guard {
    const Nvrtc& n;
    Nvrtc::Handle* program;
    ~Guard() { n.destroy(program); }
  } guard{n, &program};
  // As the interpreter is compiled: both give the same bits.
  const char* const options[] = {architecture.c_str(), "--std=c++20", "--fmad=false", "--device-as-default-execution-space",
                                 "--disable-warnings"};
  if (n.compile(program, sizeof options / sizeof *options, options) != 0) {
    size_t size = 0;
    n.log_size(program, &size);
    std::string log(size, '\0');
    n.log(program, log.data());
    fail("program: NVRTC %d.%d: %.400s", n.major, n.minor, log.c_str());
  }
  size_t size = 0;
  n.cubin_size(program, &size);
  std::vector<char> cubin(size);
  if (n.cubin(program, cubin.data()) != 0) fail("program: NVRTC gives no code for this device");
  return cubin;
}

void* load(const std::vector<char>& cubin) {
  void *module = nullptr, *function = nullptr;
  check_driver(driver()->load(&module, cubin.data()), "loading code");
  check_driver(driver()->function(&function, module, "vantage_program"), "finding the kernel");
  return function;
}

}  // namespace

bool can_compile() { return nvrtc() && driver(); }

void* compile(const std::string& source) {
  static auto* const kept = new std::unordered_map<std::string, void*>;
  const auto found = kept->find(source);
  if (found != kept->end()) return found->second;
  if (!can_compile()) fail("program: there is no NVRTC to compile it with (libnvrtc of CUDA 12 or later)");
  const std::string architecture = "--gpu-architecture=sm_" + std::to_string(device().major * 10 + device().minor);
  const std::string text = kPrelude + source;
  const std::string path =
      cached_path(text + architecture + " " + std::to_string(nvrtc()->major) + "." + std::to_string(nvrtc()->minor));
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
    const std::vector<char> cubin = compile_text(text, architecture);
    function = load(cubin);
    if (!path.empty()) write_file(path, cubin);
  }
  return kept->emplace(source, function).first->second;
}

void launch_compiled(void* kernel, const void* parameter, size_t, int64_t blocks) {
  void* parameters[] = {const_cast<void*>(parameter)};
  check_driver(driver()->launch(kernel, static_cast<unsigned>(blocks), 1, 1, kThreads, 1, 1, 0, stream(), parameters, nullptr), "the launch");
}

}  // namespace vantage::cuda
