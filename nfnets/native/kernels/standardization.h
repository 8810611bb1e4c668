// Scaled weight standardization of a kernel [rows, units], and its gradient: every column on its own.
//
// A block of columns is read from memory once and stays in the second cache for the sums and what is made of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "geometry.h"
#include "parallel.h"

namespace nfnets::standardization {

constexpr int64_t kColumns = 64;  // of a block

struct Rule {
  float eps, scale;
  bool eps_is_added;

  // The sum of the squares of a column, without its mean, as it is divided by.
  float bounded(float squares, int64_t rows) const {
    return eps_is_added ? squares + eps * rows : std::max(squares, eps);
  }
};

// What is known of the columns of a block.
struct Moments {
  float mean[kColumns], root[kColumns];  // root: 1 over the root of `bounded`
  bool moves[kColumns];                  // whether the bound follows the kernel, rather than being eps
};

// Calls f(first column, columns) for all blocks; `columns` is a constant for whole ones, so that loops are unrolled.
template <typename F>
void for_blocks(xla::ffi::ThreadPool& pool, int64_t rows, int64_t units, const F& f) {
  parallel_for(
      pool, up(units, kColumns),
      [&](int64_t block) {
        const int64_t first = block * kColumns, columns = std::min(kColumns, units - first);
        columns == kColumns ? f(first, kColumns) : f(first, columns);
      },
      rows * units < kFew);
}

// Adds g(row, column) to sums[column], for all of a block.
template <typename G>
inline void add(int64_t rows, int64_t columns, float* __restrict sums, const G& g) {
  for (int64_t j = 0; j < columns; ++j) sums[j] = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) sums[j] += g(i, j);
}

inline Moments moments(const Rule& rule, const float* __restrict kernel, int64_t rows, int64_t units, int64_t columns) {
  Moments of;
  add(rows, columns, of.mean, [&](int64_t i, int64_t j) { return kernel[i * units + j]; });
  for (int64_t j = 0; j < columns; ++j) of.mean[j] /= rows;
  float squares[kColumns];
  add(rows, columns, squares, [&](int64_t i, int64_t j) {
    const float centred = kernel[i * units + j] - of.mean[j];
    return centred * centred;
  });
  for (int64_t j = 0; j < columns; ++j) {
    of.root[j] = 1 / std::sqrt(rule.bounded(squares[j], rows));
    of.moves[j] = rule.eps_is_added || squares[j] > rule.eps;
  }
  return of;
}

inline void standardize(xla::ffi::ThreadPool& pool, const Rule& rule, const float* kernel, const float* gain,
                        int64_t rows, int64_t units, float* result) {
  for_blocks(pool, rows, units, [&](int64_t first, int64_t columns) {
    const float* __restrict from = kernel + first;
    float* __restrict to = result + first;
    const Moments of = moments(rule, from, rows, units, columns);
    float factor[kColumns];
    for (int64_t j = 0; j < columns; ++j) factor[j] = of.root[j] * (gain[first + j] * rule.scale);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) to[i * units + j] = (from[i * units + j] - of.mean[j]) * factor[j];
  });
}

// Of `cotangent`, which is one of the result.
inline void gradient(xla::ffi::ThreadPool& pool, const Rule& rule, const float* kernel, const float* gain,
                     const float* cotangent, int64_t rows, int64_t units, float* of_kernel, float* of_gain) {
  for_blocks(pool, rows, units, [&](int64_t first, int64_t columns) {
    const float* __restrict from = kernel + first;
    const float* __restrict ct = cotangent + first;
    float* __restrict to = of_kernel + first;
    const Moments of = moments(rule, from, rows, units, columns);
    float sum[kColumns], product[kColumns], factor[kColumns], along[kColumns];
    add(rows, columns, sum, [&](int64_t i, int64_t j) { return ct[i * units + j]; });
    add(rows, columns, product,
        [&](int64_t i, int64_t j) { return ct[i * units + j] * (from[i * units + j] - of.mean[j]); });
    for (int64_t j = 0; j < columns; ++j) {
      const float root = of.root[j];
      sum[j] /= rows;
      factor[j] = root * (gain[first + j] * rule.scale);
      along[j] = of.moves[j] ? root * root * product[j] : 0;
      of_gain[first + j] = root * product[j] * rule.scale;
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        to[i * units + j] = factor[j] * (ct[i * units + j] - sum[j] - (from[i * units + j] - of.mean[j]) * along[j]);
  });
}

}  // namespace nfnets::standardization
