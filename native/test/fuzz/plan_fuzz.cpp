// A libFuzzer target: plans as they come over the boundary. One that the reader accepts is run, twice, on buffers of just the size that it asks for: what is
// fuzzed is the promise that a plan which passes the check is safe to run. Build with -DVANTAGE_FUZZ=ON (clang); `npm run fuzz:native` does all of it.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "../../core/error.h"
#include "../../core/plan.h"
#include "../../cpu/backend.h"
#include "../../cpu/thread_pool.h"
#include "words.h"

using namespace vantage;

namespace {

constexpr int64_t kMostBytes = 1 << 20;     // of all buffers; a plan that needs more is only read
constexpr int64_t kMostElements = 1 << 16;  // of a program's index space, or of one view of a kernel
constexpr int64_t kMostWork = 1 << 22;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// No cache and no rounding: the byte after the last one is not the plan's, and the sanitizer knows.
Memory exact(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, bytes) != 0) std::abort();
  return Memory(memory);
}

class ExactBackend final : public Backend {
 public:
  const char* name() const override { return inner_.name(); }
  void* allocate(size_t bytes) override { return exact(bytes).release(); }
  void release(void* memory, size_t) override { std::free(memory); }
  void trim() override {}
  size_t cached_bytes() const override { return 0; }
  void upload(void* to, const void* from, size_t bytes) override { inner_.upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { inner_.download(to, from, bytes); }
  void run(const Program& program, void* const* slots, const double* scalars) override { inner_.run(program, slots, scalars); }
  void run(const KernelCall& call) override { inner_.run(call); }
  void synchronize() override {}

 private:
  Backend& inner_ = cpu::backend();
};

int64_t product(const int64_t* shape, int ndim) {
  int64_t total = 1;
  for (int d = 0; d < ndim; ++d) total *= shape[d];
  return total;
}

bool small(const Plan& plan) {
  if (plan.scalars > 4096 || plan.slots.size() > 4096) return false;
  int64_t bytes = plan.arena_bytes;
  for (const Slot& slot : plan.slots) bytes += std::min(slot.bytes, kMostBytes + 1);
  if (bytes > kMostBytes) return false;
  int64_t work = 0;
  for (const auto& record : plan.records) {
    if (const Program* program = std::get_if<Program>(&record)) {
      const int64_t elements = product(program->shape, program->ndim);
      if (elements > kMostElements) return false;
      work += elements * static_cast<int64_t>(program->instructions.size() + program->views.size() + 1);
      continue;
    }
    const KernelRecord& kernel = std::get<KernelRecord>(record);
    for (int i = 0; i < kKernelRows[static_cast<int>(kernel.kernel)].views; ++i) {
      if (kernel.views[i].size() > kMostElements / 16) return false;
      work += kernel.views[i].size() * 64;
    }
  }
  return work <= kMostWork;
}

// Whole numbers that may be indices of something small, masks, and floats among which there are some that are no numbers.
void fill(void* memory, int64_t bytes, DType dtype, uint32_t seed) {
  const auto random = [&] { return (seed = seed * 1664525u + 1013904223u) >> 8; };
  const int64_t size = static_cast<int64_t>(byte_size(dtype)), elements = bytes / size;
  for (int64_t i = 0; i < elements; ++i) {
    const uint32_t kind = random() % 64;
    const double real = kind == 0 ? NAN : kind == 1 ? INFINITY : kind == 2 ? -1e30 : static_cast<double>(random() % 2000) / 500 - 2;
    const int32_t whole = kind == 0 ? static_cast<int32_t>(random() * 977) : static_cast<int32_t>(random() % 4) - (kind < 4);
    const float single = static_cast<float>(real);
    uint32_t bits;
    std::memcpy(&bits, &single, sizeof bits);
    const uint16_t half = static_cast<uint16_t>(bits >> 16);
    const uint8_t byte = dtype == DType::boolean || kind > 3 ? static_cast<uint8_t>(random() % 2) : static_cast<uint8_t>(random());
    const void* from = dtype == DType::f32   ? static_cast<const void*>(&single)
                       : dtype == DType::f64 ? static_cast<const void*>(&real)
                       : dtype == DType::bf16 ? static_cast<const void*>(&half)
                       : dtype == DType::i32  ? static_cast<const void*>(&whole)
                                              : static_cast<const void*>(&byte);
    std::memcpy(static_cast<char*>(memory) + i * size, from, static_cast<size_t>(size));
  }
}

std::vector<DType> dtypes_of(const Plan& plan) {
  std::vector<DType> dtypes(plan.slots.size(), DType::u8);
  for (const auto& record : plan.records) {
    if (const Program* program = std::get_if<Program>(&record)) {
      for (const ProgramView& view : program->views) dtypes[view.slot] = view.dtype;
      continue;
    }
    const KernelRecord& kernel = std::get<KernelRecord>(record);
    for (int i = 0; i < kKernelRows[static_cast<int>(kernel.kernel)].views; ++i) dtypes[kernel.slots[i]] = kernel.views[i].dtype;
  }
  return dtypes;
}

void run(const Plan& plan, uint32_t seed) {
  static ExactBackend backend;
  std::vector<Memory> memory;
  std::vector<ExternalBuffer> buffers;
  const std::vector<DType> dtypes = dtypes_of(plan);
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    if (slot.arena_offset >= 0) continue;
    memory.push_back(exact(static_cast<size_t>(slot.bytes)));
    buffers.push_back({memory.back().get(), slot.bytes});
    fill(memory.back().get(), slot.bytes, dtypes[i], seed + static_cast<uint32_t>(i));
  }
  std::vector<double> scalars;
  constexpr double values[] = {1, 0.5, 0, 2, 1e-3, 3, -1, 0.99};
  for (int i = 0; i < plan.scalars; ++i) scalars.push_back(values[(seed + static_cast<uint32_t>(i)) % 8]);
  // Twice: the second run takes what the first has prepared.
  for (int round = 0; round < 2; ++round) execute(plan, backend, buffers.data(), buffers.size(), scalars.data(), scalars.size());
}

uint32_t hash(const uint8_t* bytes, size_t size) {
  uint32_t value = 2166136261u;
  for (size_t i = 0; i < size; ++i) value = (value ^ bytes[i]) * 16777619u;
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  cpu::set_threads(2);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::vector<double> words = fuzz::read_words(bytes, size);
  try {
    const Plan plan = read_plan(words.data(), words.size());
    if (small(plan)) run(plan, hash(bytes, size));
  } catch (const Error&) {
    // Said what is wrong: that is what it is for.
  }
  return 0;
}
