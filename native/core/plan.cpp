#include "plan.h"

#include "error.h"

namespace vantage {

void execute(const Plan& plan, Backend& backend, const ExternalBuffer* buffers, size_t buffer_count, const double* scalars,
             size_t scalar_count) {
  if (buffer_count != static_cast<size_t>(plan.external_slots))
    fail("execute: expected %d buffers, got %zu", plan.external_slots, buffer_count);
  if (scalar_count != static_cast<size_t>(plan.scalars)) fail("execute: expected %d scalars, got %zu", plan.scalars, scalar_count);

  struct Arena {
    Backend& backend;
    size_t bytes;
    void* memory;
    ~Arena() {
      if (memory) backend.release(memory, bytes);
    }
  } arena{backend, static_cast<size_t>(plan.arena_bytes), nullptr};
  if (arena.bytes > 0) {
    arena.memory = backend.allocate(arena.bytes);
    if (!arena.memory) fail("execute: out of memory for %zu bytes of intermediate results on %s", arena.bytes, backend.name());
  }

  thread_local std::vector<void*> slots;
  slots.resize(plan.slots.size());
  size_t next = 0;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    if (slot.arena_offset >= 0) {
      slots[i] = static_cast<char*>(arena.memory) + slot.arena_offset;
      continue;
    }
    const ExternalBuffer& buffer = buffers[next];
    if (buffer.bytes < slot.bytes) {
      fail("execute: buffer %zu: expected at least %lld bytes, got %lld", next, static_cast<long long>(slot.bytes),
           static_cast<long long>(buffer.bytes));
    }
    if (buffer.repeated && plan.external_use[next] == Use::writes)
      fail("execute: buffer %zu: expected memory of its own, as it is written, got that of another buffer, too", next);
    slots[i] = buffer.data;
    ++next;
  }

  for (const auto& record : plan.records) {
    if (const Program* program = std::get_if<Program>(&record)) {
      backend.run(*program, slots.data(), scalars);
      continue;
    }
    const KernelRecord& kernel = std::get<KernelRecord>(record);
    const KernelRow& row = kKernelRows[static_cast<int>(kernel.kernel)];
    KernelCall call;
    call.kernel = kernel.kernel;
    for (int i = 0; i < row.views; ++i) {
      call.views[i] = kernel.views[i];
      call.views[i].data =
          static_cast<char*>(slots[kernel.slots[i]]) + kernel.offsets[i] * static_cast<int64_t>(byte_size(kernel.views[i].dtype));
    }
    for (int i = 0; i < row.scalars; ++i) call.scalars[i] = scalars[kernel.scalars[i]];
    for (int i = 0; i < row.attributes; ++i) call.attributes[i] = kernel.attributes[i];
    backend.run(call);
  }
}

}  // namespace vantage
