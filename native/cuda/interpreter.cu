// Programs by interpretation: every thread reads the list of instructions and keeps its values in the block's memory. Nothing has to be compiled.
#include "interpreter.h"

#include "launch.h"
#include "skeletons.h"

namespace vantage::cuda {
namespace {

template <class T, int width>
VANTAGE_DEVICE void read(T (&x)[width], const char* from, bool uniform) {
  if (uniform) {
#pragma unroll
    for (int k = 0; k < width; ++k) x[k] = *reinterpret_cast<const T*>(from);
    return;
  }
  const Pack<T, width> pack = *reinterpret_cast<const Pack<T, width>*>(from);
#pragma unroll
  for (int k = 0; k < width; ++k) x[k] = pack.at[k];
}
template <class T, int width>
VANTAGE_DEVICE void write(char* to, const T (&x)[width]) {
  Pack<T, width> pack;
#pragma unroll
  for (int k = 0; k < width; ++k) pack.at[k] = x[k];
  *reinterpret_cast<Pack<T, width>*>(to) = pack;
}

struct Operand {
  const char* at;
  bool uniform;
};

// Not inlined: it is long, and the same for every kernel.
template <class T, int width>
VANTAGE_NOINLINE void arithmetic(Op op, char* to, Operand a, Operand b, Operand c) {
  T x[width], y[width], z[width];
  read(y, b.at, b.uniform);
  read(z, c.at, c.uniform);
  if (op != Op::where) read(x, a.at, a.uniform);
  switch (op) {
#define X(name, operands, kind, expression)                                                                                   \
  case Op::name:                                                                                                              \
    if constexpr (is_defined<Op::name, T> && Op::name != Op::where) {                                                         \
      typename ResultOf<Op::name, T>::type result[width];                                                                     \
      _Pragma("unroll") for (int k = 0; k < width; ++k) result[k] = apply<Op::name, T>(x[k], operands > 1 ? y[k] : x[k], z[k]); \
      write(to, result);                                                                                                      \
    }                                                                                                                         \
    break;
    VANTAGE_INSTRUCTIONS(X)
#undef X
    default: break;
  }
  if (op != Op::where) return;
  int32_t condition[width];
  read(condition, a.at, a.uniform);
#pragma unroll
  for (int k = 0; k < width; ++k) x[k] = condition[k] != 0 ? y[k] : z[k];
  write(to, x);
}

template <class T, int items>
VANTAGE_NOINLINE void load_home(char* to, Piece piece) {
  T x[items];
  load_piece<T, items>(x, piece);
  write(to, x);
}
template <class T, int items>
VANTAGE_NOINLINE void store_home(Operand from, Piece piece) {
  T x[items];
  read(x, from.at, from.uniform);
  store_piece<T, items>(x, piece);
}

struct Interpreter {
  static constexpr int kDims = kMaxDims;  // the script's are the last ones
  static constexpr int kUnroll = 1;
  static constexpr bool kTwice = false;  // its code is long enough
  using Index = long long;
  const Interpretation& launch;
  char* memory;  // of this block: slots, then homes

  struct Slots {
    Slot* first;
    VANTAGE_DEVICE explicit Slots(const Interpreter& body) : first(reinterpret_cast<Slot*>(body.memory) + threadIdx.x) {}
    VANTAGE_DEVICE Slot& operator[](int i) { return first[i * kThreads]; }
  };

  VANTAGE_DEVICE int first_dim() const { return launch.script.first_dim; }
  VANTAGE_DEVICE long long shape(int d) const { return launch.script.shape[d]; }
  VANTAGE_DEVICE long long stride(int view, int d) const { return launch.script.strides[view * kDims + d]; }
  VANTAGE_DEVICE char* base(int view) const { return launch.base[view]; }
  VANTAGE_DEVICE bool aligned(int view) const { return launch.aligned[view >> 6] >> (view & 63) & 1; }
  VANTAGE_DEVICE int outer() const { return launch.script.outer; }
  VANTAGE_DEVICE int reduced() const { return launch.script.reduced; }
  VANTAGE_DEVICE int outputs() const { return launch.script.output_count; }
  VANTAGE_DEVICE int folds() const { return launch.script.folds; }
  VANTAGE_DEVICE int scans() const { return launch.script.scans; }
  VANTAGE_DEVICE OutputInfo output(int k) const { return launch.script.outputs[k]; }
  // Scans and loops come with rows, where an output has one total.
  VANTAGE_DEVICE int first_carry() const { return launch.script.folds; }

  template <class C>
  VANTAGE_DEVICE void run(C& c) const {
    const Script& script = launch.script;
    for (int i = 0; i < script.instructions; ++i) {
      const Packed one = script.code[i];
      if (static_cast<Op>(one.op) == Op::loop) {
        loop(c, i + 1, one.block);
        i += one.block;
      } else {
        step(c, one);
      }
    }
    for (int k = 0; k < script.output_count; ++k) {
      const int value = script.output_values[k];
      switch (script.outputs[k].type) {
        case RegisterType::f64: leave<double>(c, k, value); break;
        case RegisterType::i32: leave<int32_t>(c, k, value); break;
        default: leave<float>(c, k, value);
      }
    }
  }

 private:
  template <class C>
  VANTAGE_DEVICE char* home(int which) const {
    const int bytes = launch.script.home_bytes * C::kItems;
    return memory + (launch.script.slots * static_cast<int>(sizeof(Slot)) + which * bytes) * kThreads + threadIdx.x * bytes;
  }
  // Element k of an operand and those behind it.
  template <class C>
  VANTAGE_DEVICE Operand operand(int which, int k, int size) const {
    if (which & kScalarOperand) {
      const Slot* scalars = launch.many_scalars ? launch.many_scalars : launch.scalars;
      return {reinterpret_cast<const char*>(scalars + (which & (kScalarOperand - 1))), true};
    }
    return {home<C>(which) + k * size, false};
  }
  template <class T, class C>
  VANTAGE_DEVICE void take(T (&x)[C::kItems], int which) const {
    const Operand from = operand<C>(which, 0, sizeof(T));
    read(x, from.at, from.uniform);
  }

  template <class T, class C>
  VANTAGE_DEVICE void leave(C& c, int k, int value) const {
    const OutputInfo out = output(k);
    if (out.reduction == Reduction::store) {
      return store_home<T, C::kItems>(operand<C>(value, 0, sizeof(T)), c.piece(out.view, out.dtype, out.access));
    }
    T x[C::kItems];
    take<T, C>(x, value);
    c.template leave_fold<T>(out, x);
  }
  template <class T, class C>
  VANTAGE_DEVICE void load(C& c, const Packed& one) const {
    load_home<T, C::kItems>(home<C>(one.dst), c.piece(one.number, static_cast<DType>(one.source), static_cast<Access>(one.access)));
  }
  template <class T, class C>
  VANTAGE_DEVICE void scan(C& c, const Packed& one) const {
    T a[C::kItems], b[C::kItems], initial[C::kItems], out[C::kItems];
    take<T, C>(a, one.a);
    take<T, C>(b, one.b);
    take<T, C>(initial, one.c);
    c.template scan<T>(one.number, a, b, initial, out, static_cast<Op>(one.op) == Op::scan_prev);
    write(home<C>(one.dst), out);
  }

  // Elements [k, k + width) of an instruction that looks at no other elements.
  template <int width, class C>
  VANTAGE_DEVICE void compute(const Packed& one, int k) const {
    const Op op = static_cast<Op>(one.op);
    const RegisterType type = static_cast<RegisterType>(one.type);
    if (op == Op::cast) {
      switch (type) {
        case RegisterType::f64: return cast<double, width, C>(one, k);
        case RegisterType::i32: return cast<int32_t, width, C>(one, k);
        default: return cast<float, width, C>(one, k);
      }
    }
    const int size = type == RegisterType::f64 ? 8 : 4;
    const Operand a = operand<C>(one.a, k, op == Op::where ? 4 : size), b = operand<C>(one.b, k, size), c = operand<C>(one.c, k, size);
    char* const to = home<C>(one.dst) + k * (op >= Op::eq && op <= Op::isfinite ? 4 : size);
    switch (type) {
      case RegisterType::f64: return arithmetic<double, width>(op, to, a, b, c);
      case RegisterType::i32: return arithmetic<int32_t, width>(op, to, a, b, c);
      default: return arithmetic<float, width>(op, to, a, b, c);
    }
  }
  template <class T, int width, class C>
  VANTAGE_DEVICE void cast(const Packed& one, int k) const {
    char* const to = home<C>(one.dst) + k * static_cast<int>(sizeof(T));
    switch (static_cast<RegisterType>(one.source)) {
      case RegisterType::f64: return cast_from<double, T, width, C>(one, k, to);
      case RegisterType::i32: return cast_from<int32_t, T, width, C>(one, k, to);
      default: return cast_from<float, T, width, C>(one, k, to);
    }
  }
  template <class S, class T, int width, class C>
  VANTAGE_DEVICE void cast_from(const Packed& one, int k, char* to) const {
    const Operand from = operand<C>(one.a, k, sizeof(S));
    S x[width];
    T y[width];
    read(x, from.at, from.uniform);
#pragma unroll
    for (int i = 0; i < width; ++i) y[i] = number<T>(x[i]);
    write(to, y);
  }

  template <class C>
  VANTAGE_DEVICE void step(C& c, const Packed& one) const {
    const RegisterType type = static_cast<RegisterType>(one.type);
    switch (static_cast<Op>(one.op)) {
      case Op::load:
        if (type == RegisterType::f64) load<double>(c, one);
        else if (type == RegisterType::i32) load<int32_t>(c, one);
        else load<float>(c, one);
        return;
      case Op::scan:
      case Op::scan_prev:
        if (type == RegisterType::f64) scan<double>(c, one);
        else if (type == RegisterType::i32) scan<int32_t>(c, one);
        else scan<float>(c, one);
        return;
      default:
#pragma unroll
        for (int k = 0; k < C::kItems; k += 4) compute<4, C>(one, k);
    }
  }

  // A block, once for each element.
  template <class C>
  VANTAGE_DEVICE void loop(C& c, int begin, int size) const {
    const Packed* const code = launch.script.code + begin;
    for (int k = 0; k < C::kItems && c.exists(k); ++k) {
      int states = 0;
      for (; states < size && static_cast<Op>(code[states].op) == Op::state; ++states) {
        const Packed one = code[states];
        if (one.type == static_cast<int>(RegisterType::f64)) begin_state<double>(c, one, k);
        else if (one.type == static_cast<int>(RegisterType::i32)) begin_state<int32_t>(c, one, k);
        else begin_state<float>(c, one, k);
      }
      for (int i = states; i < size; ++i) compute<1, C>(code[i], k);
      for (int i = 0; i < states; ++i) {
        const Packed one = code[i];
        if (one.type == static_cast<int>(RegisterType::f64)) end_state<double>(c, one, k);
        else if (one.type == static_cast<int>(RegisterType::i32)) end_state<int32_t>(c, one, k);
        else end_state<float>(c, one, k);
      }
    }
  }
  template <class T, class C>
  VANTAGE_DEVICE void begin_state(C& c, const Packed& one, int k) const {
    T initial[1], value[1];
    const Operand from = operand<C>(one.c, k, sizeof(T));
    read(initial, from.at, from.uniform);
    value[0] = c.template state<T>(one.number, k, initial[0]);
    write(home<C>(one.dst) + k * static_cast<int>(sizeof(T)), value);
  }
  template <class T, class C>
  VANTAGE_DEVICE void end_state(C& c, const Packed& one, int k) const {
    T next[1];
    const Operand from = operand<C>(one.a, k, sizeof(T));
    read(next, from.at, from.uniform);
    c.template set_state<T>(one.number, next[0]);
  }
};

template <Walk walk, int team, bool scans = false>
__global__ void __launch_bounds__(kThreads) interpret(const __grid_constant__ Interpretation launch) {
  char* memory = launch.homes ? launch.homes + blockIdx.x * launch.homes_bytes : dynamic_shared();
  const Interpreter body{launch, memory};
  constexpr int items = items_of(walk, scans);
  if constexpr (walk == Walk::elements) walk_elements<Interpreter, items>(body, launch.geometry);
  else if constexpr (walk == Walk::rows) walk_rows<Interpreter, team, items>(body, launch.geometry);
  else if constexpr (walk == Walk::wide) walk_wide<Interpreter, items, true>(body, launch.geometry);
  else walk_columns<Interpreter, items, true>(body, launch.geometry);
}

using Kernel = void (*)(Interpretation);

Kernel kernel_of(Walk walk, int team, bool scans) {
  switch (walk) {
    case Walk::elements: return interpret<Walk::elements, 1>;
    case Walk::wide: return scans ? interpret<Walk::wide, kThreads, true> : interpret<Walk::wide, kThreads>;
    case Walk::columns: return interpret<Walk::columns, 1>;
    default: break;
  }
  switch (team) {
    case 1: return interpret<Walk::rows, 1>;
    case 8: return interpret<Walk::rows, 8>;
    case 32: return interpret<Walk::rows, 32>;
    default: return interpret<Walk::rows, kThreads>;
  }
}

}  // namespace

int64_t resident_interpreters(Walk walk, int team, bool scans) {
  const int64_t count = resident_clusters("program", kernel_of(walk, team, scans), 1, dim3(kThreads), 0);
  return std::max<int64_t>(1, count);
}

void launch_interpreter(const Interpretation& interpretation, Walk walk, int team, long long blocks, size_t shared) {
  const Kernel kernel = kernel_of(walk, team, interpretation.script.scans > 0);
  if (shared + kOwnShared > kFreeShared) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), "program");
  launch("program", kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared, interpretation);
}

}  // namespace vantage::cuda
