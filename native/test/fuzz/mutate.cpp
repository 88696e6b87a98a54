// Changes that know what a plan is: words become other numbers, records are repeated, moved and left out with the counts that go with them. Half of the time
// libFuzzer's own changes of bytes.
#include <algorithm>
#include <random>

#include "words.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t limit);

namespace {

using Words = std::vector<double>;
using Random = std::minstd_rand;

constexpr size_t kHead = 5;  // version, slots, scalars, arena bytes, records

double another(double word, const Words& words, Random& random) {
  static constexpr double extremes[] = {0, 1, -1, 2, 63, 64, 127, 128, 1023, 1024, 0.5, -0.0, NAN, INFINITY, 9007199254740992.0, -9007199254740992.0, 1099511627776.0,
                                        16777216.0, 4294967296.0, 2147483647.0, 1e300};
  switch (random() % 6) {
    case 0: return word + 1;
    case 1: return word - 1;
    case 2: return static_cast<double>(random() % 64);
    case 3: return words[random() % words.size()];
    case 4: return word * (random() % 2 ? 2 : -1);
    default: return extremes[random() % (sizeof extremes / sizeof *extremes)];
  }
}

// Where each record begins, and behind the last one. Empty where the words do not go that far.
std::vector<size_t> records_of(const Words& words) {
  std::vector<size_t> starts;
  if (words.size() < kHead || !(words[1] >= 0 && words[1] < 1e6)) return starts;
  size_t at = kHead + 2 * static_cast<size_t>(words[1]);
  while (at < words.size()) {
    starts.push_back(at);
    if (at + 2 > words.size() || !(words[at + 1] >= 0 && words[at + 1] < 1e6)) return {};
    at += 2 + static_cast<size_t>(words[at + 1]);
  }
  if (at != words.size()) return {};
  starts.push_back(at);
  return starts;
}

void change_word(Words& words, Random& random) {
  double& word = words[random() % words.size()];
  word = another(word, words, random);
}

// A word more or less in the middle of a record, which then says how many it holds.
void change_length(Words& words, Random& random) {
  const std::vector<size_t> starts = records_of(words);
  if (starts.size() < 2) return change_word(words, random);
  const size_t record = random() % (starts.size() - 1), begin = starts[record] + 2, end = starts[record + 1];
  if (begin == end) return;
  const size_t at = begin + random() % (end - begin), count = std::min<size_t>(random() % 6 + 1, end - at);
  const auto from = words.begin() + static_cast<std::ptrdiff_t>(at);
  if (random() % 2) {
    words.erase(from, from + static_cast<std::ptrdiff_t>(count));
    words[starts[record] + 1] -= static_cast<double>(count);
  } else {
    const Words part(from, from + static_cast<std::ptrdiff_t>(count));
    words.insert(from, part.begin(), part.end());
    words[starts[record] + 1] += static_cast<double>(count);
  }
}

void change_records(Words& words, Random& random) {
  const std::vector<size_t> starts = records_of(words);
  if (starts.size() < 2) return change_word(words, random);
  const size_t record = random() % (starts.size() - 1);
  const auto begin = words.begin() + static_cast<std::ptrdiff_t>(starts[record]), end = words.begin() + static_cast<std::ptrdiff_t>(starts[record + 1]);
  const Words one(begin, end);
  if (random() % 2) {
    words.erase(begin, end);
    words[4] -= 1;
  } else {
    const size_t to = starts[random() % starts.size()];
    words.insert(words.begin() + static_cast<std::ptrdiff_t>(to), one.begin(), one.end());
    words[4] += 1;
  }
}

// All places that hold one number get another: a dimension of a shape is said many times.
void change_everywhere(Words& words, Random& random) {
  const double from = words[random() % words.size()], to = another(from, words, random);
  for (double& word : words) {
    if (word == from && random() % 4 != 0) word = to;
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t limit, unsigned int seed) {
  Random random(seed);
  if (random() % 4 == 0) return LLVMFuzzerMutate(bytes, size, limit);
  Words words = fuzz::read_words(bytes, size);
  if (words.empty()) return LLVMFuzzerMutate(bytes, size, limit);
  const int changes = 1 + static_cast<int>(random() % 3);
  for (int i = 0; i < changes && !words.empty(); ++i) {
    switch (random() % 8) {
      case 0: change_length(words, random); break;
      case 1: change_records(words, random); break;
      case 2: change_everywhere(words, random); break;
      default: change_word(words, random);
    }
  }
  return fuzz::write_words(words, bytes, limit);
}
