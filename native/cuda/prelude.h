// What stands in front of everything in a generated program: NVRTC has no standard library.
#pragma once

#if defined(__CUDACC_RTC__)
using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
// The compiler's own names for what a C library has.
#define __builtin_fmodf ::fmodf
#define __builtin_copysignf ::copysignf
#define __builtin_fabsf ::fabsf
#define __builtin_sqrtf ::sqrtf
#define __builtin_floorf ::floorf
#define __builtin_ceilf ::ceilf
#define __builtin_rintf ::rintf
#define __builtin_powf ::powf
#define __builtin_fmod ::fmod
#define __builtin_copysign ::copysign
#define __builtin_fabs ::fabs
#define __builtin_sqrt ::sqrt
#define __builtin_floor ::floor
#define __builtin_ceil ::ceil
#define __builtin_rint ::rint
#define __builtin_pow ::pow
#define __builtin_exp ::exp
#define __builtin_expm1 ::expm1
#define __builtin_log ::log
#define __builtin_log1p ::log1p
#define __builtin_tanh ::tanh
#define __builtin_sin ::sin
#define __builtin_cos ::cos
#define __builtin_fma ::fma
#define __builtin_memcpy memcpy
#define __builtin_inff() __int_as_float(0x7f800000)
#define __builtin_nanf(text) __int_as_float(0x7fffffff)
#define __builtin_inf() __longlong_as_double(0x7ff0000000000000ll)
#endif
