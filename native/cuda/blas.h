// cuBLAS, found at run time: matrix products use it where it is installed.
#pragma once
#include <cstdint>

#include "../core/dtype.h"

namespace vantage::cuda {

// One matrix of each of `count` products, whose elements lie along memory in one direction.
struct BlasMatrix {
  const void* data;
  int64_t leading, batch;  // strides between rows (or columns, where transposed) and between products, in elements
  bool transposed;         // columns lie along memory
};

// out[M,N] = a[M,K]·b[K,N], all rows of out along memory; a and b have `in`. False where there is no cuBLAS, or it does not do this: nothing was done then.
bool blas_multiply(DType in, DType to, int64_t M, int64_t N, int64_t K, const BlasMatrix& a, const BlasMatrix& b, void* out, int64_t out_leading,
                   int64_t out_batch, int64_t count);

// Whether it may round the factors of float32 products to TF32: VANTAGE_TF32 in the environment. Throws vantage::Error where that is neither 0 nor 1.
bool tensor_float32();

}  // namespace vantage::cuda
