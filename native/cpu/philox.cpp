// Random tensors: element i is word i%4 of block counter + i/4, whatever the size of the tensor and the number of threads.
#include "../core/philox.h"

#include "../core/kernels.h"
#include "../core/math.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int kBlocks = 64;  // generated together, so that the compiler can keep one block in each lane

enum class Distribution : int { bits = 0, uniform = 1, normal = 2 };

struct Words {
  uint32_t words[4][kBlocks];
};

// philox() of core/philox.h on kBlocks counters at once, one round at a time: simple loops that the compiler vectorises.
void generate(uint32_t key_low, uint32_t key_high, uint64_t counter, Words& out) {
  auto& x = out.words;
  for (int b = 0; b < kBlocks; ++b) {
    const uint64_t at = counter + static_cast<uint64_t>(b);
    x[0][b] = static_cast<uint32_t>(at), x[1][b] = static_cast<uint32_t>(at >> 32), x[2][b] = 0, x[3][b] = 0;
  }
  for (int round = 0; round < kPhiloxRounds; ++round) {
#pragma GCC ivdep
    for (int b = 0; b < kBlocks; ++b) {
      const uint64_t product0 = uint64_t{kPhiloxMultiplier0} * x[0][b], product1 = uint64_t{kPhiloxMultiplier1} * x[2][b];
      x[0][b] = static_cast<uint32_t>(product1 >> 32) ^ x[1][b] ^ key_low;
      x[2][b] = static_cast<uint32_t>(product0 >> 32) ^ x[3][b] ^ key_high;
      x[1][b] = static_cast<uint32_t>(product1), x[3][b] = static_cast<uint32_t>(product0);
    }
    key_low += kPhiloxWeyl0, key_high += kPhiloxWeyl1;
  }
}

void normal_pair(const uint32_t* __restrict first, const uint32_t* __restrict second, float* __restrict cosines, float* __restrict sines) {
#pragma GCC ivdep
  for (int b = 0; b < kBlocks; ++b) philox_normal_pair(cosines[b], sines[b], first[b], second[b]);
}

template <class T, class From>
void interleave(const From (&values)[4][kBlocks], int64_t count, T* out) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int w = 0; w < 4; ++w) out[i + w] = static_cast<T>(values[w][i / 4]);
  }
  for (; i < count; ++i) out[i] = static_cast<T>(values[i % 4][i / 4]);
}

}  // namespace

void philox(const KernelCall& call) {
  const TensorView& out = call.views[0];
  const auto distribution = static_cast<Distribution>(static_cast<int>(call.attributes[0]));
  const auto key_low = static_cast<uint32_t>(call.scalars[0]), key_high = static_cast<uint32_t>(call.scalars[1]);
  const auto counter = static_cast<uint64_t>(call.scalars[2]);

  constexpr int64_t kElements = 4 * kBlocks, kTaskElements = 64 * kElements;
  const int64_t size = out.size();
  parallel_for(ceil_div(size, kTaskElements), 4 * size, [&](int64_t task) {
    Words bits;
    float values[4][kBlocks];
    for (int64_t i = task * kTaskElements; i < smaller(size, (task + 1) * kTaskElements); i += kElements) {
      const int64_t count = smaller(kElements, size - i);
      generate(key_low, key_high, counter + static_cast<uint64_t>(i / 4), bits);
      if (distribution == Distribution::bits) {
        interleave(bits.words, count, out.as<int32_t>() + i);
        continue;
      }
      if (distribution == Distribution::uniform) {
        for (int w = 0; w < 4; ++w) {
          for (int b = 0; b < kBlocks; ++b) values[w][b] = philox_uniform(bits.words[w][b]);
        }
      } else {
        normal_pair(bits.words[0], bits.words[1], values[0], values[1]);
        normal_pair(bits.words[2], bits.words[3], values[2], values[3]);
      }
      out.dtype == DType::f32 ? interleave(values, count, out.as<float>() + i) : interleave(values, count, out.as<double>() + i);
    }
  });
}

}  // namespace vantage::cpu::VANTAGE_ISA
