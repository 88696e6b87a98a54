#include "blas.h"

#include <climits>
#include <cstdlib>
#include <cstring>

#include "../core/error.h"
#include "allocator.h"
#include "opened.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

// What is used of cublas_v2.h and library_types.h; their numbers are part of the library's interface.
using Handle = struct cublasContext*;
constexpr int kNoTranspose = 0, kTranspose = 1;
constexpr int kReal32 = 0, kReal64 = 1, kBfloat16 = 14;
constexpr int kCompute32 = 68, kComputeTensorFloat32 = 77, kCompute64 = 70;
constexpr int kDefaultAlgorithm = -1;
constexpr size_t kWorkspace = size_t{32} << 20;  // what NVIDIA recommends for Hopper

struct Blas {
  Handle handle = nullptr;
  int (*create)(Handle*) = nullptr;
  int (*set_stream)(Handle, cudaStream_t) = nullptr;
  int (*set_workspace)(Handle, void*, size_t) = nullptr;
  int (*multiply)(Handle, int, int, int, int, int, const void*, const void*, int, int, long long, const void*, int, int, long long, const void*, void*,
                  int, int, long long, int, int, int) = nullptr;
  bool tensor_float32 = false;
};

// Never closed. Without a handle there is no cuBLAS.
Blas open_blas() {
  Blas blas;
#ifndef VANTAGE_CUDA_EMULATED
  void* library = nullptr;
  for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"}) {
    if ((library = open_library(name))) break;
  }
  const bool complete = library && find(library, "cublasCreate_v2", &blas.create) && find(library, "cublasSetStream_v2", &blas.set_stream) &&
                        find(library, "cublasSetWorkspace_v2", &blas.set_workspace) && find(library, "cublasGemmStridedBatchedEx", &blas.multiply);
  void* workspace = complete ? allocate(kWorkspace) : nullptr;
  Handle handle = nullptr;
  // Its own memory and our stream: no allocation inside of a call, and the same bits each time.
  if (workspace && blas.create(&handle) == 0 && blas.set_stream(handle, stream()) == 0 && blas.set_workspace(handle, workspace, kWorkspace) == 0) {
    blas.handle = handle;
  }
  blas.tensor_float32 = tensor_float32();
#endif
  return blas;
}

int type_of(DType dtype) { return dtype == DType::f64 ? kReal64 : dtype == DType::bf16 ? kBfloat16 : kReal32; }

}  // namespace

bool tensor_float32() {
  const char* text = std::getenv("VANTAGE_TF32");
  if (!text || !*text || std::strcmp(text, "0") == 0) return false;
  if (std::strcmp(text, "1") != 0) fail("VANTAGE_TF32: expected 0 or 1, got \"%.40s\"", text);
  return true;
}

bool blas_multiply(DType in, DType to, int64_t M, int64_t N, int64_t K, const BlasMatrix& a, const BlasMatrix& b, void* out, int64_t out_leading,
                   int64_t out_batch, int64_t count) {
  static const Blas blas = open_blas();
  const bool types = in == to || (in == DType::bf16 && to == DType::f32);
  for (int64_t n : {M, N, K, a.leading, b.leading, out_leading, count}) {
    if (n > INT_MAX) return false;
  }
  if (!blas.handle || !types) return false;
  const float one32 = 1, zero32 = 0;
  const double one64 = 1, zero64 = 0;
  const bool wide = in == DType::f64;
  const void *one = wide ? static_cast<const void*>(&one64) : &one32, *zero = wide ? static_cast<const void*>(&zero64) : &zero32;
  const int compute = wide ? kCompute64 : in == DType::f32 && blas.tensor_float32 ? kComputeTensorFloat32 : kCompute32;
  // cuBLAS counts by columns: it sees the transposes, and outᵀ = bᵀ·aᵀ.
  const int status = blas.multiply(blas.handle, b.transposed ? kTranspose : kNoTranspose, a.transposed ? kTranspose : kNoTranspose, static_cast<int>(N),
                                   static_cast<int>(M), static_cast<int>(K), one, b.data, type_of(in), static_cast<int>(b.leading), b.batch, a.data,
                                   type_of(in), static_cast<int>(a.leading), a.batch, zero, out, type_of(to), static_cast<int>(out_leading), out_batch,
                                   static_cast<int>(count), compute, kDefaultAlgorithm);
  constexpr int kInvalid = 7, kArchitecture = 8, kUnsupported = 15;
  if (status == kInvalid || status == kArchitecture || status == kUnsupported) return false;
  if (status != 0) fail("matmul: cuBLAS failed with status %d", status);
  return true;
}

}  // namespace vantage::cuda
