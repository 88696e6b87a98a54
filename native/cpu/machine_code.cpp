#include "machine_code.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "../core/error.h"

// Other systems ask for more (a flag of the memory, an entitlement, another calling convention), and are served by the interpreter.
#if defined(__x86_64__) && (defined(__linux__) || defined(__FreeBSD__))
#define VANTAGE_MACHINE_CODE 1
#include <sys/mman.h>
#endif

namespace vantage::cpu {

std::shared_ptr<const MachineCode> MachineCode::make([[maybe_unused]] const std::vector<uint8_t>& bytes) {
#if VANTAGE_MACHINE_CODE
  void* const memory = mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  std::memcpy(memory, bytes.data(), bytes.size());
  if (mprotect(memory, bytes.size(), PROT_READ | PROT_EXEC) != 0) {
    munmap(memory, bytes.size());
    return nullptr;
  }
  try {
    return std::shared_ptr<const MachineCode>(new MachineCode(memory, bytes.size()));
  } catch (...) {
    munmap(memory, bytes.size());
    throw;
  }
#else
  return nullptr;
#endif
}

MachineCode::~MachineCode() {
#if VANTAGE_MACHINE_CODE
  munmap(memory_, size_);
#endif
}

namespace {

bool wanted() {
  const char* const name = std::getenv("VANTAGE_CPU_PROGRAMS");
  if (!name || !*name || std::strcmp(name, "compile") == 0) return true;
  if (std::strcmp(name, "interpret") != 0) fail("VANTAGE_CPU_PROGRAMS: expected interpret or compile, got \"%.40s\"", name);
  return false;
}

// A system that forbids it (a hardened kernel, say) says so once and for all: what a program computes may not depend on when memory was short.
bool possible() {
#if VANTAGE_MACHINE_CODE
  static const bool made = MachineCode::make({0xc3}) != nullptr;
  return made;
#else
  return false;
#endif
}

std::atomic<bool>& choice() {
  static std::atomic<bool> compiles{wanted() && possible()};
  return compiles;
}

constexpr size_t kMostFunctions = 1024;
std::atomic<int64_t> made{0};

struct Functions {
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<const MachineCode>> by_key;
  std::deque<std::string> in_order;  // the oldest one first
};

}  // namespace

bool compiles_programs() { return choice().load(std::memory_order_relaxed); }
void set_compiles_programs(bool wanted) { choice().store(wanted && possible(), std::memory_order_relaxed); }
int64_t functions_made() { return made.load(std::memory_order_relaxed); }

std::shared_ptr<const MachineCode> compiled(const std::string& key, const std::function<std::vector<uint8_t>()>& compile) {
  static Functions* const functions = new Functions;
  const std::lock_guard<std::mutex> lock(functions->mutex);
  if (const auto found = functions->by_key.find(key); found != functions->by_key.end()) return found->second;
  const std::vector<uint8_t> bytes = compile();
  const std::shared_ptr<const MachineCode> code = bytes.empty() ? nullptr : MachineCode::make(bytes);
  if (!bytes.empty() && !code) fail("execute: the system gave no memory for a compiled program (%s); VANTAGE_CPU_PROGRAMS=interpret does without", std::strerror(errno));
  if (code) made.fetch_add(1, std::memory_order_relaxed);
  // Those that run now are held by who runs them.
  if (functions->in_order.size() == kMostFunctions) {
    functions->by_key.erase(functions->in_order.front());
    functions->in_order.pop_front();
  }
  functions->in_order.push_back(key);
  functions->by_key.emplace(key, code);
  return code;
}

}  // namespace vantage::cpu
