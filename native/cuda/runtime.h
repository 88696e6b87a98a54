// The device in use, its one stream, and what kernels share.
//
// Everything that is launched or copied goes through one stream, in the order in which it was asked for: memory that was released may be
// given out again at once, and whoever reads a value waits for that stream. One mutex, held by the library's entry points (library.cpp), keeps
// threads apart.
#pragma once
#include <cstddef>
#include <cstdint>

#include "api.h"

namespace vantage::cuda {

struct Device {
  int index = 0;
  char name[256] = {};
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int driver = 0;            // the newest CUDA that the driver knows: 1000·major + 10·minor
  size_t memory = 0;
  size_t most_shared = 0;    // bytes that a block may ask for
  bool reads_host_memory = false;  // copies from ordinary host memory may go on after the call has returned
};

// Finds the device (VANTAGE_CUDA_DEVICE in the environment, or 0) and prepares it. Throws vantage::Error where there is none, each time it is called.
void open();
const Device& device();
// The device that a thread of the host uses is a property of the thread.
void use_device();

// Throws vantage::Error with CUDA's name for the failure if it is one. `what` names the operation.
void check(cudaError_t error, const char* what);

// The stream that everything runs on.
cudaStream_t stream();
// Waits for all that was launched; throws what failed.
void synchronize(const char* what);

// Copies from ordinary host memory, which may be changed as soon as this returns.
void copy_to_device(void* to, const void* from, size_t bytes, const char* what);

// Memory through which a block tells others a number or two, in words that each carry the number of the launch in their upper half. Never cleared: what
// is there from earlier launches is of another number.
struct alignas(32) Letter {
  unsigned long long words[4];
};

// Counters and flags that kernels keep between the blocks of one launch. They are never cleared between launches: a flag is set when it holds the
// number of the launch, and a counter is read from where the last launch left it.
struct Signals {
  unsigned* flags;      // `count` of them
  unsigned set;         // the number of the launch: what its flags hold, and its letters in their words' upper halves
  unsigned* counter;    // every block of the launch adds 1
  unsigned counted;     // what the counter holds before the launch
  unsigned* tickets;    // `ticket_count` of them, 0; whoever completes one puts it back to 0
  Letter* letters;      // `letter_count` of them
};
// For one launch of `blocks` blocks on the stream, which has to follow; where it fails, reset_signals() is called.
Signals signals(int64_t flag_count, int64_t ticket_count, int64_t blocks, int64_t letter_count = 0);
void reset_signals();

}  // namespace vantage::cuda
