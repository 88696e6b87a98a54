#include "cuda_emulator.h"

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes)
#endif

#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Saves the callee-saved registers and the stack pointer, and continues where `to` was saved.
#if defined(__x86_64__)
extern "C" void vantage_switch_fiber(void** from, void* to);
asm(R"(
  .text
  .globl vantage_switch_fiber
  .hidden vantage_switch_fiber
vantage_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#else
#error "the CUDA emulator knows x86-64 only"
#endif

namespace cuda_emulator {
namespace {

constexpr size_t kStack = 256 * 1024;
constexpr size_t kMostThreads = 1024, kMostShared = 227 * 1024, kMostParameters = 4096, kMostCluster = 8;

struct Barrier {
  unsigned mask = 0, arrived = 0, generation = 0;
};

struct Warp {
  unsigned live = 0;
  alignas(16) char slots[32][16];
  std::vector<Barrier> barriers;
};

struct Fiber {
  void* stack = nullptr;  // lowest address
  void* context = nullptr;
  uint3 index = {};
  bool done = false;
  // What it waits for: the generation of a barrier to change.
  const unsigned* generation = nullptr;
  unsigned expected = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned live = 0, arrived = 0, generation = 0;
  int counting = 0, counted = 0;
  void* scheduler = nullptr;
  unsigned current = 0;
  uint64_t progress = 0;
  const std::function<void()>* thread = nullptr;
  std::vector<char> shared;
  uint3 index = {};
};

// The blocks that run together.
struct Cluster {
  std::vector<Block> blocks;
  unsigned size = 1, running = 0;
  unsigned arrived = 0, generation = 0;
} cluster;

std::mutex one_launch;
std::map<const void*, size_t> shared_limits;

Block& state() { return cluster.blocks[cluster.running]; }
Warp& warp() { return state().warps[state().current / 32]; }

[[noreturn]] void die(const char* text) {
  std::fprintf(stderr, "cuda emulator: %s (block %u,%u,%u; thread %u)\n", text, blockIdx.x, blockIdx.y, blockIdx.z, state().current);
  std::abort();
}

void leave() { vantage_switch_fiber(&state().fibers[state().current].context, state().scheduler); }

void wait(const unsigned& generation) {
  Fiber& fiber = state().fibers[state().current];
  fiber.generation = &generation;
  fiber.expected = generation;
  leave();
}

// A barrier is complete when all that still run have arrived; a thread that ends may be the one it waited for.
void complete_block_barrier() {
  Block& b = state();
  if (b.arrived == 0 || b.arrived < b.live) return;
  b.arrived = 0;
  b.counted = b.counting;
  b.counting = 0;
  ++b.generation;
  ++b.progress;
}
void complete_cluster_barrier() {
  unsigned live = 0;
  for (unsigned i = 0; i < cluster.size; ++i) live += cluster.blocks[i].live;
  if (cluster.arrived == 0 || cluster.arrived < live) return;
  cluster.arrived = 0;
  ++cluster.generation;
  ++state().progress;
}
void complete_warp_barrier(Warp& w, Barrier& barrier) {
  if (barrier.arrived == 0 || (barrier.mask & w.live & ~barrier.arrived) != 0) return;
  barrier.arrived = 0;
  ++barrier.generation;
  ++state().progress;
}

void run_fiber() {
  Block& b = state();
  (*b.thread)();
  Warp& w = warp();
  b.fibers[b.current].done = true;
  --b.live;
  ++b.progress;
  w.live &= ~(1u << lane());
  complete_block_barrier();
  complete_cluster_barrier();
  for (Barrier& barrier : w.barriers) complete_warp_barrier(w, barrier);
  leave();
  die("a finished thread was resumed");
}

void prepare(Fiber& fiber) {
  if (!fiber.stack) {
    fiber.stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fiber.stack == MAP_FAILED) die("no memory for a stack");
  }
  // The thread that ran here before left without returning.
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack, kStack);
  void** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + kStack);
  *--top = nullptr;  // the return address of run_fiber, which never returns; keeps the stack aligned as at a call
  *--top = reinterpret_cast<void*>(run_fiber);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.context = top;
  fiber.done = false;
  fiber.generation = nullptr;
}

unsigned seed() {
  const char* text = std::getenv("VANTAGE_EMULATOR_SEED");
  return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 0;
}

void start(Block& b, unsigned threads, uint3 index, size_t dynamic_shared) {
  if (b.fibers.size() < threads) b.fibers.resize(threads);
  b.index = index;
  b.shared.assign(dynamic_shared + 16, static_cast<char>(0xff));
  b.live = threads;
  b.arrived = b.counting = 0;
  b.warps.assign((threads + 31) / 32, {});
  for (unsigned i = 0; i < threads; ++i) {
    prepare(b.fibers[i]);
    b.fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    b.warps[i / 32].live |= 1u << (i % 32);
  }
}

// A turn of each thread of the running block that waits for nothing; whether one of them only yielded.
bool run_threads(const std::vector<unsigned>& order) {
  Block& b = state();
  blockIdx = b.index;
  bool yielded = false;
  for (unsigned i : order) {
    Fiber& fiber = b.fibers[i];
    if (fiber.done || (fiber.generation && *fiber.generation == fiber.expected)) continue;
    fiber.generation = nullptr;
    b.current = i;
    threadIdx = fiber.index;
    vantage_switch_fiber(&b.scheduler, fiber.context);
    yielded = yielded || (!fiber.done && !fiber.generation);
  }
  return yielded;
}

void run_cluster(const std::vector<unsigned>& order) {
  for (bool live = true; live;) {
    bool moved = live = false;
    for (unsigned i = 0; i < cluster.size; ++i) {
      cluster.running = i;
      // As far ahead of the others as a block may get.
      for (uint64_t before = state().progress - 1; state().progress != before;) {
        before = state().progress;
        moved |= run_threads(order) || state().progress != before;
      }
      live |= state().live > 0;
    }
    if (live && !moved) die("deadlock: a barrier or a warp function that not every thread it names reaches");
  }
}

}  // namespace

void launch(const std::function<void()>& thread, dim3 grid, dim3 block, size_t dynamic_shared, size_t parameter_bytes, unsigned blocks_of_cluster) {
  const std::lock_guard<std::mutex> guard(one_launch);
  const size_t threads = size_t{block.x} * block.y * block.z;
  const bool valid = threads > 0 && threads <= kMostThreads && block.z <= 64 && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535 &&
                     dynamic_shared <= kMostShared && parameter_bytes <= kMostParameters && blocks_of_cluster > 0 &&
                     blocks_of_cluster <= kMostCluster && grid.x % blocks_of_cluster == 0;
  if (!valid) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  cluster.size = blocks_of_cluster;
  if (cluster.blocks.size() < cluster.size) cluster.blocks.resize(cluster.size);
  gridDim = grid;
  blockDim = block;
  // A seed stands for other orders of a block's threads and of the blocks: CUDA promises none.
  std::vector<unsigned> order(threads), clusters(grid.x / cluster.size);
  std::iota(order.begin(), order.end(), 0);
  std::iota(clusters.begin(), clusters.end(), 0);
  if (const unsigned s = seed()) {
    std::shuffle(order.begin(), order.end(), std::mt19937(s));
    std::shuffle(clusters.begin(), clusters.end(), std::mt19937(s));
  }
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned first : clusters) {
        const unsigned x = first * cluster.size;
        cluster.arrived = 0;
        for (unsigned i = 0; i < cluster.size; ++i) {
          cluster.blocks[i].thread = &thread;
          start(cluster.blocks[i], static_cast<unsigned>(threads), {x + i, y, z}, dynamic_shared);
        }
        run_cluster(order);
      }
    }
  }
}

unsigned lane() { return state().current % 32; }
unsigned live_lanes() { return warp().live; }
void* lane_slot(unsigned lane) { return warp().slots[lane]; }
char* shared_of(Block& block) {
  char* first = block.shared.data();
  return first + (16 - reinterpret_cast<uintptr_t>(first) % 16) % 16;
}
char* dynamic_shared() { return shared_of(state()); }
unsigned cluster_rank() { return cluster.running; }
void* shared_of_rank(void* mine, unsigned rank) {
  if (rank >= cluster.size) die("there is no such block in the cluster");
  const ptrdiff_t offset = static_cast<char*>(mine) - dynamic_shared();
  if (offset < 0 || offset >= static_cast<ptrdiff_t>(state().shared.size())) die("an address for another block is not in the dynamic shared memory");
  return shared_of(cluster.blocks[rank]) + offset;
}
void cluster_barrier() {
  ++cluster.arrived;
  const unsigned before = cluster.generation;
  complete_cluster_barrier();
  if (cluster.generation == before) wait(cluster.generation);
}
void yield() { leave(); }

void block_barrier() { count_across_block(false); }
int count_across_block(bool predicate) {
  Block& b = state();
  b.counting += predicate;
  ++b.arrived;
  const unsigned before = b.generation;
  complete_block_barrier();
  if (b.generation == before) wait(b.generation);
  return b.counted;
}

void warp_barrier(unsigned mask) {
  Warp& w = warp();
  if (!(mask >> lane() & 1)) die("a warp function was called by a lane that its mask does not name");
  size_t at = 0;
  while (at < w.barriers.size() && w.barriers[at].mask != mask) ++at;
  if (at == w.barriers.size()) {
    w.barriers.reserve(64);  // waiting fibers point into it
    if (at == 64) die("more than 64 different masks in a warp");
    w.barriers.push_back({mask, 0, 0});
  }
  Barrier& barrier = w.barriers[at];
  barrier.arrived |= 1u << lane();
  const unsigned before = barrier.generation;
  complete_warp_barrier(w, barrier);
  if (barrier.generation == before) wait(barrier.generation);
}

void allow_dynamic_shared(const void* kernel, size_t bytes) { shared_limits[kernel] = bytes; }
size_t allowed_dynamic_shared(const void* kernel) {
  const auto found = shared_limits.find(kernel);
  return found == shared_limits.end() ? 48 * 1024 : found->second;
}

}  // namespace cuda_emulator
