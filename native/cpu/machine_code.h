// Functions that are made at run time.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vantage::cpu {

// Memory that holds one, and can be run but not written.
class MachineCode {
 public:
  // Null where the operating system has no such memory for this process.
  static std::shared_ptr<const MachineCode> make(const std::vector<uint8_t>& bytes);
  ~MachineCode();
  MachineCode(const MachineCode&) = delete;
  MachineCode& operator=(const MachineCode&) = delete;
  void* entry() const { return memory_; }

 private:
  MachineCode(void* memory, size_t size) : memory_(memory), size_(size) {}
  void* const memory_;
  const size_t size_;
};

// Whether programs may be compiled: not where VANTAGE_CPU_PROGRAMS is `interpret`, nor on systems that MachineCode knows nothing of. Throws vantage::Error where the variable is
// neither that nor `compile`.
bool compiles_programs();
// For tests: as if the variable were this. Nothing is compiled on a system that cannot.
void set_compiles_programs(bool wanted);
// For tests: how many functions have been made.
int64_t functions_made();

// The function for a key, made at first by `compile`, whose answer depends on the key alone; null where it is empty. Safe from all threads.
std::shared_ptr<const MachineCode> compiled(const std::string& key, const std::function<std::vector<uint8_t>()>& compile);

}  // namespace vantage::cpu
