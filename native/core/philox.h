// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (2011):
// four random words are a function of a 64-bit key and a 128-bit block counter, so that any element can be computed alone.
#pragma once
#include <cstdint>

#include "math.h"

namespace vantage {

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53, kPhiloxMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9, kPhiloxWeyl1 = 0xBB67AE85;

struct PhiloxBlock {
  uint32_t words[4];
};

VANTAGE_HD PhiloxBlock philox(uint32_t key_low, uint32_t key_high, uint64_t counter, uint64_t counter_high = 0) {
  PhiloxBlock x = {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(counter_high),
                    static_cast<uint32_t>(counter_high >> 32)}};
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = uint64_t{kPhiloxMultiplier0} * x.words[0], product1 = uint64_t{kPhiloxMultiplier1} * x.words[2];
    x = {{static_cast<uint32_t>(product1 >> 32) ^ x.words[1] ^ key_low, static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ x.words[3] ^ key_high, static_cast<uint32_t>(product0)}};
    key_low += kPhiloxWeyl0, key_high += kPhiloxWeyl1;
  }
  return x;
}

// Uniform in [0, 1): the top 24 bits, all of which float32 can hold.
VANTAGE_HD float philox_uniform(uint32_t word) { return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f; }

// Uniform in [0, 1) with 53 bits.
VANTAGE_HD double philox_uniform53(uint32_t high, uint32_t low) {
  return (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
}

// Box and Muller: two uniform words give two normal values. 1 - u lies in (0, 1], where the logarithm is finite.
VANTAGE_HD void philox_normal_pair(float& cosine, float& sine, uint32_t first, uint32_t second) {
  const float radius = math::sqrt(-2.0f * math::log(1.0f - philox_uniform(first))), angle = 6.28318531f * philox_uniform(second);
  cosine = radius * math::cos(angle);
  sine = radius * math::sin(angle);
}

}  // namespace vantage
