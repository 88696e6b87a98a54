// In place of native/cuda/compile.cpp: the host's compiler compiles the same source.
#include "../../cuda/compile.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <unordered_map>

#include "../../core/error.h"
#include "../../cuda/geometry.h"
#include "cuda_emulator.h"

namespace vantage::cuda {
namespace {

constexpr const char* kEntry = R"(
extern "C" void vantage_emulated(const void* parameters) { vantage_program(*static_cast<const vantage::cuda::Parameters*>(parameters)); }
)";

// A folder of this process, removed at its end.
const std::string& folder() {
  static const std::string path = [] {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base && *base ? base : "/tmp") + "/vantage-emulated-XXXXXX";
    if (!mkdtemp(name.data())) fail("cuda emulator: no folder for compiled programs");
    return name;
  }();
  return path;
}

void* build(const std::string& source) {
  static int count = 0;
  const std::string base = folder() + "/" + std::to_string(count++);
  std::ofstream(base + ".cpp") << "#include \"" VANTAGE_EMULATOR_HEADER "\"\n" << kPrelude << source << kEntry;
  Dl_info here;
  if (!dladdr(reinterpret_cast<const void*>(&can_compile), &here)) fail("cuda emulator: cannot find itself");
  const std::string command = std::string(VANTAGE_EMULATOR_COMPILER) + " -std=c++20 -O1 -w -shared -fPIC -ffp-contract=off -fwrapv -o " + base + ".so " +
                              base + ".cpp " + here.dli_fname + " 2> " + base + ".log";
  const int code = std::system(command.c_str());
  if (code != 0) {
    std::ifstream log(base + ".log");
    const std::string text{std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>()};
    fail("program: the host's compiler: %.400s", text.c_str());
  }
  void* library = dlopen((base + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const char* suffix : {".cpp", ".log", ".so"}) unlink((base + suffix).c_str());
  rmdir(folder().c_str());
  if (!library) fail("cuda emulator: %s", dlerror());
  return dlsym(library, "vantage_emulated");
}

}  // namespace

bool can_compile() { return true; }

void* compile(const std::string& source) {
  static auto* const kept = new std::unordered_map<std::string, void*>;
  const auto found = kept->find(source);
  return found != kept->end() ? found->second : kept->emplace(source, build(source)).first->second;
}

void launch_compiled(void* kernel, const void* parameter, size_t bytes, int64_t blocks) {
  const auto run = reinterpret_cast<void (*)(const void*)>(kernel);
  cuda_emulator::launch([&] { run(parameter); }, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, bytes);
  if (const cudaError_t error = cudaGetLastError()) fail("program: %s", cudaGetErrorName(error));
}

}  // namespace vantage::cuda
