// The devices that the tests run on: every instruction set of this CPU, the one whose programs may be compiled once more without, and CUDA: the emulated one, or that of a GPU (-DVANTAGE_TEST_CUDA=real).
// VANTAGE_TEST_DEVICES limits them: cpu, cuda, cuda interpret or cuda compile.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../core/backend.h"

namespace test {

struct Device {
  std::string name;
  vantage::Backend* backend;
  bool threads;   // results have to be the same for any number of threads
  bool compiles;  // programs are compiled, which takes about a second each
  bool only_scans;  // other programs are the same on the device before it
  void (*select)(const std::string& name);  // call it before the backend is used
};

const std::vector<Device>& devices();

// Whether the tests run on "cpu" or "cuda".
bool wanted(const char* device);

// How often what moves so many elements runs on CUDA, whose bits are to be the same each time: twice; once under the emulation where it takes long, which
// small sizes of the same code are for.
int runs_on_cuda(int64_t elements);

// Of CUDA's device: shapes that depend on it choose among the kernels for many and few rows.
int64_t multiprocessors();

// CUDA's backend, or null where the tests run without.
vantage::Backend* cuda_backend();

}  // namespace test
