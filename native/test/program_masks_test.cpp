// What the scheduler writes most: masked scans and the choices on their mask; and outputs larger than the caches.
#include <cmath>

#include "../cpu/cache.h"
#include "program_builder.h"

using namespace test::programs;

// A scan whose state passes through where a mask is 0, and `where`s on the same mask, as TypeScript writes them: rows without holes, with holes
// that hold NaN, padded on one side or both, and without any valid position; rows that a tile holds whole, and rows in segments.
TEST(masked_scans) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{40, 700}, {96, 16}, {21, 13}, {3, 90'000}}) {
    for (bool reverse : {false, true}) {
      for (double factor : {0.9405, 1.0, -1.25}) {
        if (shape[1] > 10'000 && reverse != (factor == 1)) continue;  // long rows cost seconds
        Builder b(shape);
        b.sequential(reverse);
        const int64_t time = shape[1];
        // What grows beyond all bounds is infinite step by step, and NaN where maps are composed first.
        b.cpu_only = time > 10'000 && factor < -1;
        const int r = b.view(DType::f32), v = b.view(DType::f32), m = b.view(DType::u8);
        b.fill_uniform(r, -1, 1);
        b.fill_uniform(v, -1, 1);
        b.fill(m, [] { return 1.0; });
        for (int64_t row = 0; row < shape[0]; ++row) {
          for (int64_t t = 0; t < time; ++t) {
            const bool hole = row % 5 == 1 ? t % 7 == 3 : row % 5 == 2 ? t > time / 3 : row % 5 == 3 ? t < time / 6 || t > time - time / 9 : row % 5 == 4;
            if (!hole) continue;
            const int64_t at = 3 + row * time + t;
            reference::store(b.buffers[b.p.views[m].slot].bytes.data(), DType::u8, at, 0);
            reference::store(b.buffers[b.p.views[r].slot].bytes.data(), DType::f32, at, NAN);
          }
        }
        const int mask = b.load(m, i32), valid = b.emit(Op::ne, i32, mask, b.constant(0, i32));
        const int reward = b.load(r), value = b.load(v), zero = b.constant(0), one = b.constant(1);
        const int next = b.emit(Op::scan_prev, f32, b.emit(Op::where, f32, mask, zero, one), b.emit(Op::where, f32, mask, value, zero), zero);
        const int delta = b.emit(Op::sub, f32, b.emit(Op::add, f32, reward, b.emit(Op::mul, f32, b.constant(0.99), next)), value);
        const int large = b.emit(Op::where, f32, mask, b.constant(factor), one);
        const int s = b.emit(Op::scan, f32, large, b.emit(Op::where, f32, mask, delta, zero), b.constant(0.5));
        const int result = b.emit(Op::where, f32, valid, b.emit(Op::add, f32, s, value), zero);
        const int twice = b.emit(Op::where, f32, mask, result, one);
        b.store(s);
        b.store(result);
        b.store(twice);
        b.fold(Reduction::sum, twice);
        // The difference is one multiply-add where the reference rounds twice, which adds up over a long row; sums are of hundreds of states that cancel.
        const double tolerance = time > 10'000 ? 1e-4 : 1e-5;
        b.check("masked scan", tolerance, 10 * tolerance);
      }
    }
  }
}

// Scans by turns on two masks whose stretches begin and end elsewhere, in either direction.
TEST(scans_on_two_masks) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{30, 700}, {40, 30}, {2, 20'000}}) {
    for (bool reverse : {false, true}) {
      Builder b(shape);
      b.sequential(reverse);
      const int one_mask = b.view(DType::u8), other_mask = b.view(DType::boolean);
      int64_t i = 0, j = 0;
      b.fill(one_mask, [&] { return ++i / 173 % 3 == 1 ? 0.0 : 2.0; });
      b.fill(other_mask, [&] { return ++j / 91 % 2 == 1 || j % 500 < 9 ? 1.0 : 0.0; });
      const int zero = b.constant(0), one = b.constant(1);
      int value = b.input(-1, 1);
      for (int turn = 0; turn < 4; ++turn) {
        const int mask = b.load(turn % 2 == 0 ? one_mask : other_mask, i32);
        const int factor = b.emit(Op::where, f32, mask, b.constant(turn == 3 ? 0 : 0.5), one), term = b.emit(Op::where, f32, mask, value, zero);
        value = b.emit(turn == 3 ? Op::scan_prev : Op::scan, f32, factor, term, zero);
        b.store(value);
      }
      b.check("two masks", 1e-5, 1e-5);
    }
  }
}

// Choices where a mask is of one truth for whole tiles: between arrays, constants, and what is computed of them, at rows of all lengths.
TEST(choices_by_stretches) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{9, 3'000}, {300, 40}, {2'000, 3}, {5'000}}) {
    for (RegisterType type : {f32, f64, i32}) {
      Builder b(shape);
      const DType dtype = type == f32 ? DType::f32 : type == f64 ? DType::f64 : DType::i32;
      const int m = b.view(DType::u8);
      int64_t i = 0;
      b.fill(m, [&] { return ++i % 2'600 < 1'100 ? 0.0 : i % 2'600 < 2'400 ? 1.0 + static_cast<double>(i % 2) : static_cast<double>(i % 3 == 0); });
      const int mask = b.load(m, i32), x = b.input(-9, 9, dtype, type), y = b.input(-9, 9, dtype, type);
      const int two = b.constant(2, type), sum = b.emit(Op::add, type, x, y);
      const int arrays = b.emit(Op::where, type, mask, x, y), computed = b.emit(Op::where, type, mask, sum, b.emit(Op::mul, type, x, two));
      const int constants = b.emit(Op::where, type, mask, two, b.constant(3, type)), right = b.emit(Op::where, type, mask, computed, two);
      const int left = b.emit(Op::where, type, mask, two, sum), again = b.emit(Op::where, type, mask, arrays, right);
      // The mask as a condition and as a number.
      const int valid = b.emit(Op::ne, i32, mask, b.constant(0, i32)), number = type == i32 ? valid : b.emit(Op::cast, type, valid, static_cast<int>(i32));
      const int scaled = b.emit(Op::mul, type, number, b.emit(Op::where, type, valid, x, two));
      for (int value : {arrays, computed, constants, right, left, again, scaled, b.emit(Op::mul, type, again, sum)}) b.store(value, type, dtype);
      b.check("choices by stretches");
    }
  }
}

// Factors that masks are part of, as a user writes them: `running.mul(mask).mul(0.9)`. Where the bytes are equal for a whole tile the factor is one number
// there: rows that are valid throughout, at their beginning, here and there, nowhere; two masks that change at different places; counts of 0 to 3.
TEST(factors_of_masks) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{12, 1'300}, {5, 513}, {2, 40'000}, {40, 70}}) {
    for (bool reverse : {false, true}) {
      for (RegisterType type : {f32, f64}) {
        Builder b(shape);
        b.sequential(reverse);
        const int64_t time = shape[1];
        const DType dtype = type == f32 ? DType::f32 : DType::f64;
        const auto bytes = [&](DType bytes_type, auto&& at) {
          const int view = b.view(bytes_type);
          int64_t i = 0;
          b.fill(view, [&, at]() mutable {
            const int64_t position = i++ - 3;
            return position < 0 ? 0.0 : static_cast<double>(at(position / time, position % time));
          });
          return view;
        };
        const int valid = bytes(DType::boolean, [&](int64_t row, int64_t t) {
          return row % 4 == 0 || (row % 4 == 1 && t < time * 2 / 3) || (row % 4 == 2 && t % 11 != 5);
        });
        const int open = bytes(DType::u8, [&](int64_t row, int64_t t) { return t < 600 || row % 3 == 0 || t % 2 == 0; });
        const int count = bytes(DType::u8, [&](int64_t row, int64_t t) { return row % 5 == 4 ? t % 4 : (row + t / 520) % 4; });
        const int m = b.load(valid, type), o = b.load(open, type), k = b.load(count, type), x = b.input(-1, 1, dtype, type);
        const int zero = b.constant(0, type), decay = b.constant(0.9, type);
        const int both = b.emit(Op::mul, type, b.emit(Op::mul, type, m, o), decay);
        const int some = b.emit(Op::where, type, b.emit(Op::gt, type, k, b.constant(1, type)), b.emit(Op::mul, type, m, decay), b.constant(0.5, type));
        const int s = b.emit(Op::scan, type, both, x, zero);
        const int previous = b.emit(Op::scan_prev, type, some, s, b.constant(2, type));
        // As estimators have it: a mask that is chosen by and multiplied with.
        const int bits = b.load(valid, i32), truth = b.emit(Op::ne, i32, bits, b.constant(0, i32));
        const int kept = b.emit(Op::where, type, truth, x, zero), factor = b.emit(Op::mul, type, b.emit(Op::cast, type, truth, static_cast<int>(i32)), decay);
        b.store(b.emit(Op::where, type, bits, b.emit(Op::scan, type, factor, kept, zero), decay), type, dtype);
        // A factor of which something else is made, too.
        const int divided = b.emit(Op::div, type, decay, b.emit(Op::add, type, k, b.constant(1, type)));
        b.store(s, type, dtype);
        b.store(b.emit(Op::scan, type, divided, b.emit(Op::add, type, previous, divided), zero), type, dtype);
        b.store(b.emit(Op::scan, type, both, x, b.constant(1, type)), type, dtype);
        b.check("factors of masks", type == f32 ? 1e-5 : 1e-12, type == f32 ? 1e-5 : 1e-12);
      }
    }
  }
}

// Factors so close to 1 that an error of every product of factors would be seen at the end of a long row.
TEST(factors_close_to_one) {
  for (double factor : {0.99995, 0.9999, 1.00001}) {
    Builder b({17, 20'000});
    b.sequential(true);
    const int x = b.input(0.5, 1);
    b.store(b.emit(Op::scan, f32, b.constant(factor), x, b.constant(3)));
    b.check("factors close to one", 5e-7);
  }
}

// Arithmetic that is needed only behind one mask, behind the other, behind both or everywhere, at random: what the inputs hold where they are masked, NaN, is chosen
// away before anything leaves the program. Masks are of one truth for whole tiles, here and there, at rows' ends.
TEST(values_behind_masks) {
  const std::vector<int64_t> shapes[] = {{6, 1'700}, {150, 30}, {4'000}, {9, 700}};
  for (int seed = 0; seed < 32; ++seed) {
    Builder b(shapes[seed % 4]);
    b.random.seed(static_cast<unsigned>(seed));
    const auto below = [&](size_t n) { return static_cast<size_t>(b.random() % n); };
    const bool scans = b.p.ndim == 2 && seed % 3 != 0, wide = seed % 5 == 4;
    if (scans) b.sequential(seed % 2 == 0);
    const RegisterType type = wide ? f64 : f32;
    const DType dtype = wide ? DType::f64 : DType::f32;
    std::vector<int> masks, clean, behind[2];
    const int views[2] = {b.view(DType::u8), b.view(DType::boolean)};
    for (int k = 0; k < 2; ++k) {
      int64_t i = 0;
      const int64_t run = k == 0 ? 1'000 : 640;
      b.fill(views[k], [&] { return ++i / run % 3 == 1 || (i / run % 3 == 2 && i % (5 + k) == 0) ? 0.0 : 1.0; });
    }
    // An input that is NaN where a mask is 0. Loads come before the mask's and behind it.
    const auto masked_input = [&](int k) {
      const int view = b.view(dtype);
      std::uniform_real_distribution<double> in(-1, 1);
      int64_t i = 0;
      const Buffer& mask = b.buffers[static_cast<size_t>(b.p.views[static_cast<size_t>(views[k])].slot)];
      b.fill(view, [&] { return mask[i++] != 0 ? in(b.random) : NAN; });
      return b.load(view, type);
    };
    const int early[2] = {masked_input(0), masked_input(1)};
    for (int k = 0; k < 2; ++k) masks.push_back(b.load(views[k], i32));
    const int zero = b.constant(0, type), one = b.constant(1, type), half = b.constant(0.5, type);
    clean = {b.input(-1, 1, dtype, type), b.input(-1, 1, dtype, type), half};
    for (int k = 0; k < 2; ++k) behind[k] = {early[k], masked_input(k), b.emit(Op::where, type, masks[static_cast<size_t>(k)], early[k], zero)};
    constexpr Op ops[] = {Op::add, Op::sub, Op::mul, Op::maximum};
    for (int step = 0; step < 14; ++step) {
      const size_t k = below(2);
      std::vector<int>& pool = below(3) == 0 ? clean : behind[k];
      const int x = pool[below(pool.size())], y = below(2) == 0 ? clean[below(clean.size())] : pool[below(pool.size())];
      switch (below(scans ? 5 : 4)) {
        case 0: case 1: pool.push_back(b.emit(ops[below(4)], type, x, y)); break;
        // What a choice leaves is clean if both sides are where they count.
        case 2: clean.push_back(b.emit(Op::where, type, masks[k], behind[k][below(behind[k].size())], clean[below(clean.size())])); break;
        case 3: behind[k].push_back(b.emit(Op::where, type, masks[k], behind[k][below(behind[k].size())], clean[below(clean.size())])); break;
        default: {
          const int factor = b.emit(Op::where, type, masks[k], half, one), term = b.emit(Op::where, type, masks[k], behind[k][below(behind[k].size())], zero);
          clean.push_back(b.emit(below(2) == 0 ? Op::scan : Op::scan_prev, type, factor, term, clean[below(clean.size())]));
        }
      }
    }
    for (int count = 0; count < 3; ++count) {
      const int value = clean[clean.size() - 1 - below(clean.size() < 5 ? clean.size() : 5)];
      b.store(value, type, dtype);
      if (scans && count == 0) b.fold(Reduction::sum, b.emit(Op::mul, type, value, zero), type, dtype);
    }
    b.check("values behind masks", wide ? 1e-12 : 1e-5, wide ? 1e-12 : 1e-5);
  }
}

// Padded rows: what is chosen on the mask is written over what was computed where nobody else reads it, and whether results are finite is looked at while they stream.
// Results that are stored twice, that others read inside and outside, that lie elsewhere in memory, with an infinity or a NaN here and there.
TEST(results_behind_padding) {
  for (int way = 0; way < 8; ++way) {
    const bool streams = way % 2 == 0, odd = way % 4 >= 2, aligned = way >= 4;
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{9, 1'500}, {70, 100}, {2, 40'000}}) {
      for (bool reverse : {false, true}) {
        Builder b(shape);
        b.sequential(reverse);
        cpu::set_cache_size(streams ? 0 : int64_t{1} << 40);
        const int64_t time = shape[1];
        const int m = b.view(DType::boolean), x = b.view(DType::f32);
        int64_t i = -3, j = 0;
        b.fill(m, [&] {
          const int64_t row = i < 0 ? 0 : i / time, t = i < 0 ? 0 : i % time, left = row % 3 == 1 ? time / 7 : 0, right = row % 4 == 3 ? 0 : time - row * 31 % time;
          ++i;
          return t >= left && t < right ? 1.0 : 0.0;
        });
        b.fill(x, [&] { return ++j % 5 == 0 ? 0.5 : odd && j % 9'001 == 77 ? INFINITY : odd && j % 13'000 == 888 ? NAN : static_cast<double>(j % 7) / 7 - 0.5; });
        const int mask = b.load(m, i32), value = b.load(x), zero = b.constant(0), one = b.constant(1), two = b.constant(2);
        const auto choose = [&](int inside, int outside) { return b.emit(Op::where, f32, mask, inside, outside); };
        const auto scan = [&](Op op, double factor, int term) { return b.emit(op, f32, choose(b.constant(factor), one), choose(term, zero), two); };
        const int state = scan(Op::scan, 0.9, value), before = scan(Op::scan_prev, 0.5, b.emit(Op::add, f32, state, value)), sum = b.emit(Op::sub, f32, state, value);
        // Of the state two are chosen, of the difference one; in one direction all states are needed everywhere.
        const int first = choose(state, zero), second = choose(state, two), third = choose(sum, one), fourth = choose(before, b.constant(-1));
        const int fifth = choose(b.emit(Op::mul, f32, sum, state), first);
        const auto store = [&](int reg) {
          b.store(reg);
          if (aligned) b.p.views.back().offset = 0;
        };
        for (int reg : {first, second, third, fourth, fifth, first}) store(reg);
        if (reverse) store(before);
        const int turned = b.view(DType::f32, {1, 0});
        b.store(third, f32, turned);
        for (int reg : {first, third, fourth, fifth}) b.fold(Reduction::sum, b.emit(Op::mul, f32, reg, zero));
        if (reverse) b.fold(Reduction::sum, b.emit(Op::mul, f32, state, zero));
        b.fold(Reduction::maximum, third);
        b.check("results behind padding", 1e-5, 1e-5);
      }
    }
  }
  cpu::set_cache_size(-1);
}

// Outputs that no cache holds are stored past it, in rows that are aligned and in rows that are not.
TEST(large_outputs) {
  for (bool scan : {false, true}) {
    Builder b({33, scan ? 131'075 : 131'072});
    b.cpu_only = true;
    if (scan) b.sequential(true);
    const int x = b.input(-1, 1, DType::bf16), c = b.constant(0.5);
    const int y = scan ? b.emit(Op::scan, f32, c, x, c) : b.emit(Op::mul, f32, x, c);
    b.store(y);
    b.p.views.back().offset = 0;
    b.store(b.emit(Op::add, f32, y, x));
    b.check("large output", 1e-5, 1e-5);
  }
}

// An element that every position reads is read once, but not if the program writes to it.
TEST(views_of_one_element) {
  Builder b({20, 300});
  const int x = b.input(-1, 1), one = b.input(1, 2, DType::f32, f32, 3), byte = b.input(2, 3, DType::u8, f32, 3);
  b.store(b.emit(Op::div, f32, b.emit(Op::sub, f32, x, one), byte));
  b.store(one);
  b.check("one element");
}

