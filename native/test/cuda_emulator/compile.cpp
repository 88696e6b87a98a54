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

constexpr const char* kCompiler = VANTAGE_EMULATOR_COMPILER " -std=c++20 -O1 -w -fPIC -ffp-contract=off -fwrapv ";

// A folder of this process, with the prelude compiled once for all programs. Removed when the process ends.
struct Folder {
  std::string path;

  Folder() {
    const char* base = std::getenv("TMPDIR");
    path = std::string(base && *base ? base : "/tmp") + "/vantage-emulated-XXXXXX";
    if (!mkdtemp(path.data())) fail("cuda emulator: no folder for compiled programs");
    std::ofstream(path + "/prelude.h") << "#include \"" VANTAGE_EMULATOR_HEADER "\"\n" << kPrelude;
    run(std::string(kCompiler) + "-x c++-header " + path + "/prelude.h -o " + path + "/prelude.h.gch");
  }
  ~Folder() {
    for (const char* name : {"/prelude.h", "/prelude.h.gch", "/program.cpp", "/log"}) unlink((path + name).c_str());
    rmdir(path.c_str());
  }

  void run(const std::string& command) const {
    const std::string log = path + "/log";
    if (std::system((command + " > " + log + " 2>&1").c_str()) == 0) return;
    std::ifstream file(log);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    fail("program: the host's compiler: %.400s", text.c_str());
  }
};

void* build(const std::string& source) {
  static const Folder folder;
  static int count = 0;
  // A name of its own: a library of a name that is open is not opened again.
  const std::string code = folder.path + "/program.cpp", library = folder.path + "/" + std::to_string(count++) + ".so";
  std::ofstream(code) << "#include \"prelude.h\"\n" << source << kEntry;
  // Linked with this library, which holds the emulation.
  Dl_info here;
  if (!dladdr(reinterpret_cast<const void*>(&can_compile), &here)) fail("cuda emulator: cannot find itself");
  folder.run(std::string(kCompiler) + "-shared -o " + library + " " + code + " " + here.dli_fname);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = handle ? dlsym(handle, "vantage_emulated") : nullptr;
  if (!entry) fail("cuda emulator: %s", dlerror());
  unlink(library.c_str());
  return entry;
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
