#include "programs.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "../core/error.h"
#include "allocator.h"
#include "compile.h"
#include "generate.h"
#include "runtime.h"
#include "script.h"

namespace vantage::cuda {
namespace {

enum class Mode { interpret, compile, automatic };

Mode mode_of(const char* name) {
  if (std::strcmp(name, "interpret") == 0) return Mode::interpret;
  if (std::strcmp(name, "compile") == 0) return Mode::compile;
  if (std::strcmp(name, "auto") == 0) return Mode::automatic;
  fail("VANTAGE_CUDA_PROGRAMS: expected interpret, compile or auto, got \"%.40s\"", name);
}

Mode& mode() {
  static Mode current = [] {
    const char* name = std::getenv("VANTAGE_CUDA_PROGRAMS");
    return name && *name ? mode_of(name) : Mode::automatic;
  }();
  return current;
}

// One for each text: programs that differ in their sizes alone share it.
struct Generated {
  std::string source;
  void* kernel = nullptr;
  bool failed = false;
  int64_t work = 0;  // what was interpreted so far
};

// A compilation takes some tenths of a second. A program is worth that when it has run often or over much: each run counts its elements and
// kRunWorth. Both ways of running give the same bits, so that it does not matter when this happens.
constexpr int64_t kCompileWorth = int64_t{1} << 24;
constexpr int64_t kRunWorth = int64_t{1} << 18;

Generated& generated_of(const Program& program, const Layout& layout) {
  static auto* const all = new std::unordered_map<std::string, Generated>;
  std::string source = generate(program, layout);
  Generated& found = (*all)[source];
  if (found.source.empty()) found.source = std::move(source);
  return found;
}

// What stays with a program that was run.
struct Kept {
  Layout layout;
  int64_t elements = 1;
  Generated* generated = nullptr;
  WrittenScript script;
  void* script_memory = nullptr;
  int scalars = 0;

  ~Kept() { release(script_memory, script.bytes.size()); }
};

Kept& kept_of(const Program& program) {
  if (!program.prepared.kept) {
    auto kept = std::make_shared<Kept>();
    kept->layout = lay_out(program);
    kept->scalars = scalar_count(program);
    for (int d = 0; d < program.ndim; ++d) kept->elements *= program.shape[d];
    program.prepared.kept = kept;
  }
  return *static_cast<Kept*>(program.prepared.kept.get());
}

void write_script_memory(const Program& program, Kept& kept) {
  if (kept.script_memory) return;
  kept.script = write_script(program, kept.layout);
  void* memory = allocate(kept.script.bytes.size());
  if (!memory) fail("program: out of memory for %zu bytes of instructions on cuda", kept.script.bytes.size());
  kept.script_memory = memory;
  copy_to_device(memory, kept.script.bytes.data(), kept.script.bytes.size(), "program");
}

// What a launch needs between its blocks.
struct Shared {
  size_t partials, maps, states;  // in elements
  int64_t flags, tickets;
};
Shared shared_of(const Layout& layout) {
  const Geometry& g = layout.geometry;
  Shared s = {};
  const size_t folds = static_cast<size_t>(layout.folds);
  if (layout.walk == Walk::wide) {
    const int64_t groups = (g.parts + kGroup - 1) / kGroup;
    s.partials = static_cast<size_t>(g.rows * g.parts) * folds;
    s.maps = static_cast<size_t>(layout.scans * g.rows * g.parts);
    s.states = static_cast<size_t>(layout.scans * g.rows * groups);
    s.flags = static_cast<int64_t>(s.maps + s.states);
    s.tickets = g.rows;
  } else if (layout.walk == Walk::columns && g.parts > 1) {
    const int64_t groups = layout.blocks / g.parts;
    s.partials = static_cast<size_t>(groups * g.lanes * g.parts * layout.items()) * folds;
    s.tickets = groups;
  }
  return s;
}

// The launch of an interpreted program. Homes that do not fit into shared memory are in the device's, each block's for itself: no more blocks than the device
// has at a time, where a block goes on with what is left.
struct Interpreted {
  int64_t blocks;
  size_t homes;  // bytes of a block
  bool fits;
};
Interpreted interpreted(const Program& program, Kept& kept) {
  write_script_memory(program, kept);
  const Layout& layout = kept.layout;
  const size_t of_element = static_cast<size_t>(kept.script.script.home_bytes);
  const size_t bytes = static_cast<size_t>(kThreads) *
                       (static_cast<size_t>(layout.slots()) * sizeof(Slot) + static_cast<size_t>(kept.script.homes * layout.items()) * of_element);
  if (bytes + kOwnShared <= device().most_shared) return {layout.blocks, bytes, true};
  return {std::min(layout.blocks, resident_interpreters(layout.walk, layout.team, layout.scans > 0)), bytes, false};
}

void interpret(const Program& program, const Kept& kept, const Interpreted& how, const Geometry& geometry, void* const* slots, const double* scalars) {
  const Layout& layout = kept.layout;
  Interpretation launch;
  launch.script = kept.script.script;
  const char* memory = static_cast<const char*>(kept.script_memory);
  launch.script.code = reinterpret_cast<const Packed*>(memory + kept.script.code);
  launch.script.outputs = reinterpret_cast<const OutputInfo*>(memory + kept.script.outputs);
  launch.script.output_values = reinterpret_cast<const uint16_t*>(memory + kept.script.output_values);
  launch.script.shape = reinterpret_cast<const long long*>(memory + kept.script.shape);
  launch.script.strides = reinterpret_cast<const long long*>(memory + kept.script.strides);
  launch.geometry = geometry;
  launch.geometry.whole = set_addresses(program, layout, slots, launch.base, launch.aligned);

  const size_t many = kept.scalars > kInlineScalars ? static_cast<size_t>(kept.scalars) * sizeof(Slot) : 0;
  const Temporary many_scalars("program", many);
  launch.many_scalars = nullptr;
  if (many > 0) {
    std::vector<Slot> values(static_cast<size_t>(kept.scalars));
    read_scalars(program, scalars, values.data());
    copy_to_device(many_scalars.as(), values.data(), many, "program");
    launch.many_scalars = many_scalars.as<Slot>();
  } else {
    read_scalars(program, scalars, launch.scalars);
  }

  const Temporary homes("program", how.fits ? 0 : how.homes * static_cast<size_t>(how.blocks));
  launch.homes = homes.as<char>();
  launch.homes_bytes = static_cast<long long>(how.homes);
  launch_interpreter(launch, layout.walk, layout.team, how.blocks, how.fits ? how.homes : 0);
}

// The compiled kernel, where this run has one.
void* kernel_for(const Program& program, Kept& kept) {
  if (mode() == Mode::interpret || (mode() == Mode::automatic && !can_compile())) return nullptr;
  if (!kept.generated) kept.generated = &generated_of(program, kept.layout);
  Generated& generated = *kept.generated;
  if (generated.kernel) return generated.kernel;
  if (mode() == Mode::compile) return generated.kernel = compile(generated.source);
  generated.work += kept.elements + kRunWorth;
  if (generated.failed || generated.work < kCompileWorth) return nullptr;
  try {
    generated.kernel = compile(generated.source);
  } catch (const Error&) {
    generated.failed = true;  // a compiler that does not know this device, say: it runs all the same
  }
  return generated.kernel;
}

void run_compiled(const Program& program, const Kept& kept, void* kernel, const Geometry& geometry, void* const* slots, const double* scalars) {
  const std::vector<uint64_t> arguments = write_arguments(program, kept.layout, geometry, slots, scalars);
  const size_t bytes = arguments.size() * sizeof(uint64_t);
  if (bytes <= kMostParameterBytes) return launch_compiled(kernel, arguments.data(), bytes, kept.layout.blocks);
  const Temporary memory("program", bytes);
  copy_to_device(memory.as(), arguments.data(), bytes, "program");
  const void* address = memory.as();
  launch_compiled(kernel, &address, sizeof address, kept.layout.blocks);
}

}  // namespace

void set_programs(const char* name) { mode() = mode_of(name); }
void check_programs_setting() { mode(); }

void run_program(const Program& program, void* const* slots, const double* scalars) {
  Kept& kept = kept_of(program);
  const Layout& layout = kept.layout;
  if (layout.blocks == 0) return;

  void* const kernel = kernel_for(program, kept);
  Interpreted how = {};
  if (!kernel) how = interpreted(program, kept);

  const Shared between = shared_of(layout);
  const Temporary memory("program", between.partials * sizeof(Slot) + between.maps * sizeof(Affine) + between.states * sizeof(double));
  Geometry geometry = layout.geometry;
  geometry.maps = memory.as<Affine>();
  geometry.partials = reinterpret_cast<Slot*>(geometry.maps + between.maps);
  geometry.states = reinterpret_cast<double*>(geometry.partials + between.partials);
  if (between.tickets > 0) {
    // Blocks that go on take a ticket more each, which says that nothing is left.
    const int64_t counted = kernel || how.blocks == layout.blocks ? layout.blocks : layout.blocks + how.blocks;
    const Signals s = signals(between.flags, between.tickets, layout.walk == Walk::wide ? counted : 0);
    geometry.flags = s.flags;
    geometry.tickets = s.tickets;
    geometry.counter = s.counter;
    geometry.counted = s.counted;
    geometry.set = s.set;
  }
  try {
    if (kernel) run_compiled(program, kept, kernel, geometry, slots, scalars);
    else interpret(program, kept, how, geometry, slots, scalars);
  } catch (...) {
    if (between.tickets > 0) reset_signals();
    throw;
  }
}

}  // namespace vantage::cuda
