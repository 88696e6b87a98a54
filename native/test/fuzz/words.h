// How the fuzzer writes a plan's words as bytes. A word is a double; nearly all of them are small integers, so that two bytes are enough for most, and a
// change of one bit stays a change of one word: an int16, little end first, or kEscape and the double's eight bytes. A last odd byte is not read.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fuzz {

constexpr int16_t kEscape = INT16_MIN;

inline std::vector<double> read_words(const uint8_t* bytes, size_t size) {
  std::vector<double> words;
  for (size_t at = 0; at + 2 <= size;) {
    int16_t small;
    std::memcpy(&small, bytes + at, 2);
    at += 2;
    if (small != kEscape) {
      words.push_back(small);
    } else if (at + 8 <= size) {
      double word;
      std::memcpy(&word, bytes + at, 8);
      at += 8;
      words.push_back(word);
    } else {
      break;
    }
  }
  return words;
}

// Returns the bytes written, at most `limit`: what does not fit is left out.
inline size_t write_words(const std::vector<double>& words, uint8_t* bytes, size_t limit) {
  size_t at = 0;
  for (const double word : words) {
    const bool is_small = word > INT16_MIN && word <= INT16_MAX && word == std::trunc(word);
    if (at + (is_small ? 2 : 10) > limit) break;
    const int16_t head = is_small ? static_cast<int16_t>(word) : kEscape;
    std::memcpy(bytes + at, &head, 2);
    at += 2;
    if (is_small) continue;
    std::memcpy(bytes + at, &word, 8);
    at += 8;
  }
  return at;
}

}  // namespace fuzz
