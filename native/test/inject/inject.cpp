#include "inject.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace vantage::inject {
namespace {

std::atomic<bool> armed{false};
std::atomic<int64_t> made{0};
std::atomic<int64_t> first{0};
std::atomic<bool> all{false};
std::atomic<int64_t> blocks{0};

// Before main, or before the addon's registration: VANTAGE_INJECT_AT=N arms, so that loading can be tested.
[[gnu::constructor]] void from_environment() {
  if (const char* text = std::getenv("VANTAGE_INJECT_AT")) arm(std::atoll(text), false);
}

}  // namespace

void arm(int64_t nth, bool onwards) {
  made.store(0);
  first.store(nth);
  all.store(onwards);
  armed.store(true);
}

int64_t disarm() {
  armed.store(false);
  return made.load();
}

int64_t live() { return blocks.load(); }

bool fails() {
  if (!armed.load(std::memory_order_relaxed)) return false;
  const int64_t number = made.fetch_add(1) + 1;
  return number == first.load() || (all.load() && number > first.load());
}

}  // namespace vantage::inject

using vantage::inject::blocks;
using vantage::inject::fails;

extern "C" {

void* __real__Znwm(size_t size);
void* __real__Znam(size_t size);
void* __real__ZnwmSt11align_val_t(size_t size, std::align_val_t alignment);
void* __real_aligned_alloc(size_t alignment, size_t size);
void* __real_malloc(size_t size);
void __real_free(void* memory);
int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument);

void* __wrap__Znwm(size_t size) {
  if (fails()) throw std::bad_alloc();
  return __real__Znwm(size);
}

void* __wrap__Znam(size_t size) {
  if (fails()) throw std::bad_alloc();
  return __real__Znam(size);
}

void* __wrap__ZnwmSt11align_val_t(size_t size, std::align_val_t alignment) {
  if (fails()) throw std::bad_alloc();
  return __real__ZnwmSt11align_val_t(size, alignment);
}

void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  void* const memory = fails() ? nullptr : __real_aligned_alloc(alignment, size);
  if (memory) blocks.fetch_add(1);
  return memory;
}

// Counted alone: operator new takes its memory here, and an exception, which has a reserve of its own.
void* __wrap_malloc(size_t size) {
  void* const memory = __real_malloc(size);
  if (memory) blocks.fetch_add(1);
  return memory;
}

void __wrap_free(void* memory) {
  if (memory) blocks.fetch_sub(1);
  __real_free(memory);
}

int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  return fails() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

}  // extern "C"
