#include "assembler.h"

#include <cstring>

namespace vantage::cpu {
namespace {

constexpr int number(Gpr reg) { return static_cast<int>(reg); }

// Bit `bit` of a register's number, as prefixes hold it: turned over.
constexpr int turned(int reg, int bit) { return ((reg >> bit) & 1) ^ 1; }

constexpr int kLongVector = 2;  // L'L of 512 bits

}  // namespace

void Assembler::put32(int32_t value) {
  const size_t at = bytes_.size();
  bytes_.resize(at + 4);
  put_at(at, value);
}

void Assembler::put_at(size_t at, int32_t value) { std::memcpy(&bytes_[at], &value, 4); }

void Assembler::rm(int reg, int direct) { put({0xc0 | (reg & 7) << 3 | (direct & 7)}); }

// Always with a displacement of 32 bits, and never from rsp and r12, which would need another form.
void Assembler::rm(int reg, const Memory& memory) {
  const int base = number(memory.base) & 7, mode = 0x80 | (reg & 7) << 3;
  if (memory.index < 0) {
    put({mode | base});
  } else {
    const int scale = memory.scale == 8 ? 3 : memory.scale == 4 ? 2 : memory.scale == 2 ? 1 : 0;
    put({mode | 4, scale << 6 | (memory.index & 7) << 3 | base});
  }
  put32(memory.displacement);
}

void Assembler::vector(const Form& form, int reg, int second, const Operand& third, Under under) {
  const bool direct = third.zmm >= 0;
  const int base = direct ? third.zmm : number(third.memory.base);
  // The fifth bit of a register in the last place stands where an index has its fourth one.
  const int x = direct ? turned(third.zmm, 4) : turned(third.memory.index < 0 ? 0 : third.memory.index, 3);
  put({0x62, turned(reg, 3) << 7 | x << 6 | turned(base, 3) << 5 | turned(reg, 4) << 4 | static_cast<int>(form.map),
       form.wide << 7 | (~second & 15) << 3 | 4 | static_cast<int>(form.prefix),
       under.zeroing << 7 | (form.scalar ? 0 : kLongVector) << 5 | (!direct && third.memory.each) << 4 | turned(second, 4) << 3 | under.k, form.opcode});
  direct ? rm(reg, third.zmm) : rm(reg, third.memory);
}

void Assembler::vector(const Form& form, int reg, int second, const Operand& third, uint8_t immediate, Under under) {
  vector(form, reg, second, third, under);
  put({immediate});
}

void Assembler::general(int opcode, int reg, int direct) {
  put({0x48 | (reg >> 3) << 2 | (direct >> 3), opcode});
  rm(reg, direct);
}

void Assembler::load(Gpr to, const Memory& from) {
  put({0x48 | (number(to) >> 3) << 2 | (from.index < 0 ? 0 : from.index >> 3) << 1 | (number(from.base) >> 3), 0x8b});
  rm(number(to), from);
}
void Assembler::move(Gpr to, Gpr from) { general(0x8b, number(to), number(from)); }
void Assembler::move(Gpr to, int32_t value) {
  if (number(to) > 7) put({0x41});
  put({0xb8 | (number(to) & 7)});
  put32(value);
}
void Assembler::add(Gpr to, int32_t value) {
  general(0x81, 0, number(to));
  put32(value);
}
void Assembler::add_to(const Memory& to, Gpr from) {
  put({0x48 | (number(from) >> 3) << 2 | (number(to.base) >> 3), 0x01});
  rm(number(from), to);
}
void Assembler::subtract(Gpr to, Gpr from) { general(0x2b, number(to), number(from)); }
void Assembler::compare(Gpr a, Gpr b) { general(0x3b, number(a), number(b)); }
void Assembler::compare_with(Gpr a, int32_t value) {
  general(0x81, 7, number(a));
  put32(value);
}
void Assembler::and_(Gpr to, int32_t value) {
  general(0x81, 4, number(to));
  put32(value);
}
void Assembler::negate(Gpr to) { general(0xf7, 3, number(to)); }
void Assembler::shift_left(Gpr to, uint8_t by) {
  general(0xc1, 4, number(to));
  put({by});
}
void Assembler::low_bits(Gpr to, Gpr from, Gpr count) {
  put({0xc4, turned(number(to), 3) << 7 | 0x40 | turned(number(from), 3) << 5 | 2, (~number(count) & 15) << 3, 0xf5});
  rm(number(to), number(from));
}
// Neither takes registers above rdi: they would need a longer prefix.
void Assembler::mask_of(int k, Gpr from) {
  put({0xc5, 0xf8, 0x92});
  rm(k, number(from));
}
void Assembler::store_mask(const Memory& to, int k) {
  put({0xc5, 0xf8, 0x91});
  rm(k, to);
}
void Assembler::prefetch(const Memory& from) {
  put({0x40 | (from.index < 0 ? 0 : from.index >> 3) << 1 | (number(from.base) >> 3), 0x0f, 0x18});
  rm(1, from);
}
void Assembler::clear_upper() { put({0xc5, 0xf8, 0x77}); }
void Assembler::ret() { put({0xc3}); }

void Assembler::jump_to(size_t target, When when) {
  const Jump open = jump(when);
  put_at(open.behind - 4, static_cast<int32_t>(static_cast<int64_t>(target) - static_cast<int64_t>(open.behind)));
}
Assembler::Jump Assembler::jump(When when) {
  if (when == When::always) put({0xe9});
  else put({0x0f, static_cast<int>(when)});
  put32(0);
  return {bytes_.size()};
}
void Assembler::land(Jump jump) { put_at(jump.behind - 4, static_cast<int32_t>(bytes_.size() - jump.behind)); }

}  // namespace vantage::cpu
