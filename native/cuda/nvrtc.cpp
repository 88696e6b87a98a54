#include "nvrtc.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "../core/error.h"
#include "opened.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

struct Nvrtc {
  using Handle = struct OpaqueProgram*;
  int (*version)(int*, int*);
  int (*architecture_count)(int*);
  int (*architectures)(int*);
  int (*create)(Handle*, const char* source, const char* name, int headers, const char* const* header_texts, const char* const* header_names);
  int (*compile)(Handle, int options, const char* const* texts);
  int (*log_size)(Handle, size_t*);
  int (*log)(Handle, char*);
  int (*cubin_size)(Handle, size_t*);
  int (*cubin)(Handle, char*);
  int (*ptx_size)(Handle, size_t*);
  int (*ptx)(Handle, char*);
  int (*destroy)(Handle*);
  int major = 0, minor = 0;

  bool find_all(void* library) {
    return find(library, "nvrtcVersion", &version) && find(library, "nvrtcGetNumSupportedArchs", &architecture_count) &&
           find(library, "nvrtcGetSupportedArchs", &architectures) && find(library, "nvrtcCreateProgram", &create) &&
           find(library, "nvrtcCompileProgram", &compile) && find(library, "nvrtcGetProgramLogSize", &log_size) &&
           find(library, "nvrtcGetProgramLog", &log) && find(library, "nvrtcGetCUBINSize", &cubin_size) && find(library, "nvrtcGetCUBIN", &cubin) &&
           find(library, "nvrtcGetPTXSize", &ptx_size) && find(library, "nvrtcGetPTX", &ptx) && find(library, "nvrtcDestroyProgram", &destroy);
  }
};

// NVRTC opens its other half by its bare name, when it first compiles: found then, wherever it lies, because it is open.
void open_builtins(const Nvrtc& n) {
  Dl_info at;
  if (!dladdr(reinterpret_cast<void*>(n.version), &at) || !at.dli_fname) return;
  const std::string path = at.dli_fname;
  const size_t folder = path.rfind('/');
  if (folder == std::string::npos) return;
  dlopen((path.substr(0, folder + 1) + "libnvrtc-builtins.so." + std::to_string(n.major) + "." + std::to_string(n.minor)).c_str(), RTLD_NOW | RTLD_LOCAL);
}

// Null where the file is no NVRTC that can be used: `why`. Before CUDA 12 it does not know C++20; a driver takes no code of a later CUDA than its own.
const Nvrtc* open_nvrtc(const char* file, std::string* why) {
  void* const library = open_library(file);
  if (!library) {
    *why = dlerror();
    return nullptr;
  }
  Nvrtc n = {};
  if (!n.find_all(library) || n.version(&n.major, &n.minor) != 0) {
    *why = "it lacks functions of NVRTC";
  } else if (n.major < 12 || n.major > device().driver / 1000) {
    *why = "it is of CUDA " + std::to_string(n.major);
  } else {
    open_builtins(n);
    return new Nvrtc(n);
  }
  dlclose(library);
  return nullptr;
}

const Nvrtc* nvrtc() {
  static const Nvrtc* const found = []() -> const Nvrtc* {
    std::string why;
    if (const char* named = std::getenv("VANTAGE_NVRTC"); named && *named) {
      if (const Nvrtc* n = open_nvrtc(named, &why)) return n;
      fail("VANTAGE_NVRTC: expected the file of an NVRTC of CUDA 12 or later, up to the driver's CUDA %d, got \"%.200s\" (%.400s)", device().driver / 1000, named,
           why.c_str());
    }
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "/usr/local/cuda/lib64/libnvrtc.so", "/opt/cuda/lib64/libnvrtc.so"}) {
      if (const Nvrtc* n = open_nvrtc(name, &why)) return n;
    }
    return nullptr;
  }();
  return found;
}

// The device's architecture, or the latest before it that NVRTC knows, for which it writes PTX.
struct Target {
  int architecture;
  bool exact;
};
Target target() {
  const Nvrtc& n = *nvrtc();
  const int wanted = device().major * 10 + device().minor;
  int count = 0;
  if (n.architecture_count(&count) != 0 || count <= 0) return {wanted, true};
  std::vector<int> known(static_cast<size_t>(count));
  if (n.architectures(known.data()) != 0) return {wanted, true};
  int best = 0;
  for (int one : known) best = one <= wanted ? std::max(best, one) : best;
  return best == 0 ? Target{wanted, true} : Target{best, best == wanted};
}

}  // namespace

bool has_nvrtc() { return nvrtc() != nullptr; }

void check_named_nvrtc() {
  if (const char* named = std::getenv("VANTAGE_NVRTC"); named && *named) nvrtc();
}

const std::string& nvrtc_target() {
  static const auto* const text = new std::string([] {
    const Target t = target();
    return (t.exact ? "sm_" : "compute_") + std::to_string(t.architecture) + " " + std::to_string(nvrtc()->major) + "." + std::to_string(nvrtc()->minor);
  }());
  return *text;
}

std::vector<char> compile_text(const std::string& text) {
  const Nvrtc& n = *nvrtc();
  Nvrtc::Handle program = nullptr;
  if (n.create(&program, text.c_str(), "vantage_program.cu", 0, nullptr, nullptr) != 0) fail("program: NVRTC does not start");
  struct Guard {
    const Nvrtc& n;
    Nvrtc::Handle* program;
    ~Guard() { n.destroy(program); }
  } guard{n, &program};
  const Target t = target();
  const std::string architecture = std::string("--gpu-architecture=") + (t.exact ? "sm_" : "compute_") + std::to_string(t.architecture);
  // As the interpreter is compiled: both give the same bits.
  const char* const options[] = {architecture.c_str(), "--std=c++20", "--fmad=false", "--device-as-default-execution-space", "--disable-warnings"};
  if (n.compile(program, sizeof options / sizeof *options, options) != 0) {
    size_t size = 0;
    n.log_size(program, &size);
    std::string log(size, '\0');
    n.log(program, log.data());
    fail("program: NVRTC %d.%d: %.400s", n.major, n.minor, log.c_str());
  }
  size_t size = 0;
  (t.exact ? n.cubin_size : n.ptx_size)(program, &size);
  std::vector<char> image(size);
  if (size == 0 || (t.exact ? n.cubin : n.ptx)(program, image.data()) != 0) fail("program: NVRTC gives no code for this device");
  return image;
}

}  // namespace vantage::cuda
