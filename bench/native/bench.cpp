// The native harness: runs kernels on a device without Node, and copies memory as fast as the device can, driven over standard input.
//
//   vantage_bench cpu|cuda
//
// One command a line, one line of answer, `ok …` or `error …`:
//   describe                                  what runs
//   copy BYTES CALLS                          seconds a call of a copy of so many bytes, on all threads
//   job SETS                                  forgets the job before; the arrays of the next one stand in memory so many times
//   array DTYPE GIVEN NDIM EXTENT…            an array, followed by the bytes of its first GIVEN elements, which repeat to its end; zeros where GIVEN is 0
//   random DTYPE LOW HIGH NDIM EXTENT…        an array of uniform numbers
//   call KERNEL N VIEW… N SCALAR… N ATTRIBUTE…   a call of the job, by the rows of native/core/kernels.h; views count arrays from 0
//   ready                                     the job is complete: allocates and fills the sets
//   time CALLS ROTATE                         seconds a run of the job; the sets take turns where ROTATE is 1
//   device CALLS ROTATE                       the same of the device alone, a GPU, and 1 where all calls were queued before it began, 0 where the host was too slow
//   read ARRAY FIRST COUNT                    `ok BYTES`, then the bytes of so many elements of an array of the first set
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "../../native/addon/cuda_library.h"
#include "../../native/core/backend.h"
#include "../../native/core/error.h"
#include "../../native/core/math.h"
#include "../../native/cpu/backend.h"
#include "../../native/cpu/thread_pool.h"
#include "copy.h"

namespace vantage::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Array {
  TensorView view;  // its data is set for each set of the job
  std::vector<char> given;  // the beginning, which repeats; zeros where it is empty
  size_t bytes() const { return static_cast<size_t>(view.size()) * byte_size(view.dtype); }
};

struct Call {
  Kernel kernel;
  std::vector<size_t> views;
  std::vector<double> scalars, attributes;
};

// Uniform in [low, high) (integers too), from a linear congruence.
void fill_uniform(char* data, DType dtype, int64_t size, double low, double high, uint64_t seed) {
  const size_t width = byte_size(dtype);
  uint64_t state = seed + 1;
  for (int64_t i = 0; i < size; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double x = low + (high - low) * static_cast<double>(state >> 11) / 9007199254740992.0;
    char* at = data + static_cast<size_t>(i) * width;
    const auto put = [at](auto value) { std::memcpy(at, &value, sizeof value); };
    switch (dtype) {
      case DType::f32: put(static_cast<float>(x)); break;
      case DType::f64: put(x); break;
      case DType::bf16: put(math::to_bfloat16(static_cast<float>(x))); break;
      case DType::i32: put(static_cast<int32_t>(x)); break;
      default: put(static_cast<uint8_t>(x));
    }
  }
}

// Writes the pattern again and again until the memory is full.
void fill_repeated(Backend& backend, void* memory, size_t bytes, const std::vector<char>& pattern) {
  const size_t first = std::min(bytes, pattern.size());
  if (first > 0) backend.upload(memory, pattern.data(), first);
  for (size_t filled = first; filled < bytes; filled *= 2) copy_within(backend, static_cast<char*>(memory) + filled, memory, std::min(filled, bytes - filled));
}

// Bytes of a pattern that is repeated: few to upload, many to copy.
constexpr size_t kPattern = size_t{1} << 20;

// Memory of a device, freed with its holder.
class Block {
 public:
  Block(Backend& backend, size_t bytes) : backend_(backend), bytes_(bytes), memory_(backend.allocate(bytes)) {
    if (memory_ == nullptr) fail("no memory for %zu bytes", bytes);
  }
  Block(const Block&) = delete;
  ~Block() { backend_.release(memory_, bytes_); }
  void* data() const { return memory_; }

 private:
  Backend& backend_;
  size_t bytes_;
  void* memory_;
};

class Harness {
 public:
  explicit Harness(Backend& backend) : backend_(backend) {}

  void answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "describe") return say(describe());
    if (command == "copy") return say_seconds(copy(words));
    if (command == "job") return start(read<int>(words, "sets"));
    if (command == "array") return add_array(words);
    if (command == "random") return add_random(words);
    if (command == "call") return add_call(words);
    if (command == "ready") return fill();
    if (command == "time") return time(words);
    if (command == "device") return time_on_device(words);
    if (command == "read") return send(words);
    fail("unknown command \"%s\"", command.c_str());
  }

 private:
  static void say(const std::string& text) { std::cout << "ok " << text << std::endl; }

  static void say_seconds(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", seconds);
    say(text);
  }

  template <class T>
  static T read(std::istringstream& words, const char* what) {
    T value;
    if (!(words >> value)) fail("expected %s", what);
    return value;
  }

  std::string describe() const {
    const std::string name = backend_.name();
    if (name != "cpu") return name + " " + addon::cuda_library().device.name;
    return name + " " + cpu::isa() + ", " + std::to_string(cpu::threads()) + " threads";
  }

  double copy(std::istringstream& words) {
    const size_t bytes = read<size_t>(words, "bytes");
    const int calls = std::max(1, read<int>(words, "calls"));
    if (bytes != copied_) {
      from_.reset();
      to_.reset();
      from_ = std::make_unique<Block>(backend_, bytes);
      to_ = std::make_unique<Block>(backend_, bytes);
      copied_ = bytes;
      // Pages that were never written are all the same zeros.
      const std::vector<char> ones(kPattern, 1);
      for (Block* block : {from_.get(), to_.get()}) fill_repeated(backend_, block->data(), bytes, ones);
    }
    return time_copy(backend_, to_->data(), from_->data(), bytes, calls);
  }

  void start(int sets) {
    sets_ = std::max(0, sets);
    memory_.clear();
    arrays_.clear();
    calls_.clear();
    backend_.trim();
    say("");
  }

  static DType read_dtype(std::istringstream& words) {
    const std::string dtype = read<std::string>(words, "a dtype");
    int kind = 0;
    while (kind < kDTypes && dtype != name_of(static_cast<DType>(kind))) ++kind;
    if (kind == kDTypes) fail("unknown dtype \"%s\"", dtype.c_str());
    return static_cast<DType>(kind);
  }

  static Array read_array(std::istringstream& words, DType dtype) {
    Array array;
    array.view.dtype = dtype;
    array.view.ndim = read<int>(words, "the number of dimensions");
    if (array.view.ndim < 0 || array.view.ndim > kMaxDims) fail("expected 0 to %d dimensions", kMaxDims);
    for (int d = 0; d < array.view.ndim; ++d) array.view.shape[d] = read<int64_t>(words, "an extent");
    int64_t stride = 1;
    for (int d = array.view.ndim - 1; d >= 0; --d) {
      array.view.strides[d] = stride;
      stride *= array.view.shape[d];
    }
    return array;
  }

  void add_array(std::istringstream& words) {
    const DType dtype = read_dtype(words);
    const size_t given = read<size_t>(words, "the number of elements given");
    Array array = read_array(words, dtype);
    if (given > 0) {
      array.given.resize(given * byte_size(dtype));
      std::cin.read(array.given.data(), static_cast<std::streamsize>(array.given.size()));
    }
    arrays_.push_back(std::move(array));
    say("");
  }

  void add_random(std::istringstream& words) {
    const DType dtype = read_dtype(words);
    const double low = read<double>(words, "a number"), high = read<double>(words, "a number");
    Array array = read_array(words, dtype);
    // A prime period, so that no power-of-two stride meets the same numbers.
    const int64_t size = std::min(array.view.size(), int64_t{1048573});
    array.given.resize(static_cast<size_t>(size) * byte_size(dtype));
    fill_uniform(array.given.data(), dtype, size, low, high, arrays_.size());
    arrays_.push_back(std::move(array));
    say("");
  }

  template <class T>
  static std::vector<T> read_list(std::istringstream& words, const char* what, int expected) {
    const int count = read<int>(words, what);
    if (count != expected) fail("expected %d %s, got %d", expected, what, count);
    std::vector<T> list;
    for (int i = 0; i < count; ++i) list.push_back(read<T>(words, what));
    return list;
  }

  void add_call(std::istringstream& words) {
    const std::string name = read<std::string>(words, "a kernel");
    const KernelRow* row = std::find_if(std::begin(kKernelRows), std::end(kKernelRows), [&](const KernelRow& one) { return name == one.name; });
    if (row == std::end(kKernelRows)) fail("unknown kernel \"%s\"", name.c_str());
    Call call;
    call.kernel = static_cast<Kernel>(row - kKernelRows);
    call.views = read_list<size_t>(words, "views", row->views);
    call.scalars = read_list<double>(words, "scalars", row->scalars);
    call.attributes = read_list<double>(words, "attributes", row->attributes);
    for (const size_t view : call.views) {
      if (view >= arrays_.size()) fail("%s: expected a view below %zu, got %zu", row->name, arrays_.size(), view);
    }
    calls_.push_back(std::move(call));
    say("");
  }

  void fill() {
    const std::vector<char> zeros(kPattern);
    for (int set = 0; set < sets_; ++set) {
      for (const Array& array : arrays_) {
        memory_.push_back(std::make_unique<Block>(backend_, array.bytes()));
        fill_repeated(backend_, memory_.back()->data(), array.bytes(), array.given.empty() ? zeros : array.given);
      }
    }
    for (Array& array : arrays_) array.given = {};
    backend_.synchronize();
    say("");
  }

  void run(int set) {
    for (const Call& call : calls_) {
      KernelCall ready{};
      ready.kernel = call.kernel;
      for (size_t i = 0; i < call.views.size(); ++i) {
        ready.views[i] = arrays_[call.views[i]].view;
        ready.views[i].data = memory_[set * arrays_.size() + call.views[i]]->data();
      }
      std::copy(call.scalars.begin(), call.scalars.end(), ready.scalars);
      std::copy(call.attributes.begin(), call.attributes.end(), ready.attributes);
      backend_.run(ready);
    }
  }

  void time(std::istringstream& words) {
    const int calls = std::max(1, read<int>(words, "calls"));
    const int sets = read<int>(words, "0 or 1") != 0 ? sets_ : 1;
    if (memory_.empty()) fail("no job is ready");
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) run(i % sets);
    backend_.synchronize();
    say_seconds(seconds_since(start) / calls);
  }

  void time_on_device(std::istringstream& words) {
    const int calls = std::max(1, read<int>(words, "calls"));
    const int sets = read<int>(words, "0 or 1") != 0 ? sets_ : 1;
    if (memory_.empty()) fail("no job is ready");
    if (std::string(backend_.name()) != "cuda") fail("device: expected cuda, got %s", backend_.name());
    addon::cuda_start_timer();
    for (int i = 0; i < calls; ++i) run(i % sets);
    const addon::CudaTime time = addon::cuda_stop_timer();
    char text[48];
    std::snprintf(text, sizeof text, "%.9g %d", time.seconds / calls, time.queued ? 1 : 0);
    say(text);
  }

  void send(std::istringstream& words) {
    const auto index = read<size_t>(words, "an array"), first = read<size_t>(words, "the first element"), count = read<size_t>(words, "how many");
    if (index >= arrays_.size() || memory_.empty()) fail("expected an array below %zu, got %zu", arrays_.size(), index);
    const Array& array = arrays_[index];
    const auto size = static_cast<size_t>(array.view.size());
    if (first > size || count > size - first) fail("expected elements within [0, %zu), got %zu from %zu on", size, count, first);
    const size_t width = byte_size(array.view.dtype);
    std::vector<char> bytes(count * width);
    if (count > 0) backend_.download(bytes.data(), static_cast<const char*>(memory_[index]->data()) + first * width, bytes.size());
    say(std::to_string(bytes.size()));
    std::cout.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
  }

  Backend& backend_;
  int sets_ = 0;
  std::vector<Array> arrays_;
  std::vector<Call> calls_;
  std::vector<std::unique_ptr<Block>> memory_;  // of set s, array a: s · arrays + a
  std::unique_ptr<Block> from_, to_;
  size_t copied_ = 0;
};

Backend& backend_of(const std::string& device) {
  if (device == "cpu") return cpu::backend();
  if (device != "cuda") fail("device: expected cpu or cuda, got \"%s\"", device.c_str());
  const addon::Cuda& cuda = addon::cuda_library();
  if (cuda.backend == nullptr) fail("%s", cuda.reason.c_str());
  return *cuda.backend;
}

}  // namespace
}  // namespace vantage::bench

int main(int argc, char** argv) {
  using namespace vantage;
  std::ios::sync_with_stdio(false);
  try {
    bench::Harness harness(bench::backend_of(argc > 1 ? argv[1] : "cpu"));
    for (std::string line; std::getline(std::cin, line);) {
      try {
        harness.answer(line);
      } catch (const std::exception& error) {
        std::cout << "error " << error.what() << std::endl;
      }
    }
    // The harness lives as long as its process: the pool's threads do, too.
    std::cout.flush();
    std::_Exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
