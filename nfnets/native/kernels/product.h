// Products of matrices: what convolutions of one pixel are.
//
// XLA's own are as fast where nothing runs beside them, but within a network they often stay on one core.
#pragma once

#include <cstring>

#include "finish.h"
#include "geometry.h"
#include "parallel.h"
#include "vectors.h"

namespace nfnets::product {

constexpr int64_t kPanel = kWide * kPair;  // columns that are computed at once
constexpr int64_t kDepth = 256;  // terms of a sum that are added at once: a panel of them stays in the first cache
constexpr int64_t kFar = 1024;   // numbers of a page of memory

// Rows [0, rows) of a matrix, `count` numbers of each, into rows of `width` numbers; zeros in the rest.
inline void copy(const float* from, int64_t stride, int64_t rows, int64_t count, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, from += stride, to += width) {
    std::memcpy(to, from, count * sizeof(float));
    std::memset(to + count, 0, (width - count) * sizeof(float));
  }
}

// The first rows and columns of a tile, set or added.
template <int rows, int vectors>
void put(Tile<kWide, rows, vectors>& tile, bool add, float* to, int64_t stride, int64_t height, int64_t width) {
  constexpr int64_t all = kWide * vectors;
  if (height >= rows && width >= all) return add ? tile.add_to(to, stride) : tile.write(to, stride);
  float sums[rows * all];
  tile.write(sums, all);
  for (int64_t i = 0; i < std::min<int64_t>(rows, height); ++i)
    for (int64_t j = 0; j < std::min(all, width); ++j)
      to[i * stride + j] = (add ? to[i * stride + j] : 0) + sums[i * all + j];
}

// Rows of `a`, or with `across` columns of it, by a panel of `b` of which `vectors` vectors are used; set or added.
template <int vectors, bool across>
void multiply_panel(const float* a, int64_t stride, int64_t height, const float* b, int64_t depth, bool add, float* to,
                    int64_t to_stride, int64_t width) {
  for (int64_t i = 0; i < height; i += kWideRows) {
    Tile<kWide, kWideRows, vectors> tile;
    tile.clear();
    if constexpr (across)
      tile.add(a + i, 1, stride, b, kPanel, depth);
    else
      tile.add(a + i * stride, stride, 1, b, kPanel, depth);
    put(tile, add, to + i * to_stride, to_stride, height - i, width);
  }
}

// A matrix [depth, columns], or its transpose [columns, depth], as [panels, depth, panel].
inline float* pack(xla::ffi::ThreadPool& pool, const float* matrix, int64_t depth, int64_t columns, bool transposed) {
  const int64_t panels = up(columns, kPanel);
  float* packed = scratch<0>(panels * depth * kPanel);
  parallel_for(
      pool, panels,
      [&](int64_t panel) {
        float* to = packed + panel * depth * kPanel;
        const int64_t first = panel * kPanel, count = std::min(kPanel, columns - first);
        if (!transposed) return copy(matrix + first, columns, depth, count, kPanel, to);
        constexpr int64_t square = 16;  // lines of both sides stay in the cache
        for (int64_t k = 0; k < depth; k += square)
          for (int64_t j = 0; j < kPanel; ++j)
            for (int64_t i = k; i < std::min(k + square, depth); ++i)
              to[i * kPanel + j] = j < count ? matrix[(first + j) * depth + i] : 0;
      },
      depth * columns < kFew);
  return packed;
}

// [rows, depth] by [depth, columns], or by the transpose of [columns, depth]; finished, if so wanted.
inline void multiply(xla::ffi::ThreadPool& pool, const float* a, const float* b, int64_t rows, int64_t depth,
                     int64_t columns, bool transposed, float* result, const Finish* finish = nullptr) {
  const float* packed = pack(pool, b, depth, columns, transposed);
  const int64_t block = kWideRows * (rows >= 2048 ? 8 : 4);
  parallel_for(pool, up(rows, block), [&](int64_t item) {
    const int64_t first = item * block, height = std::min(block, rows - first);
    float* of_a = scratch<1>(block * kDepth);
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t terms = std::min(kDepth, depth - k);
      // A tile reads whole rows; and those that are a page apart would meet in few places of the cache.
      const bool copied = height % kWideRows != 0 || depth % kFar == 0;
      if (copied) copy(a + first * depth + k, depth, height, terms, terms, of_a);
      const float* from = copied ? of_a : a + first * depth + k;
      const int64_t stride = copied ? terms : depth;
      int64_t j = 0;
      for (; columns - j > kWide; j += kPanel)  // not by `multiply_panel`: compiled there, it is slower by 5 to 10 %
        for (int64_t i = 0; i < height; i += kWideRows) {
          Tile<kWide, kWideRows, kPair> tile;
          tile.clear();
          tile.add(from + i * stride, stride, 1, packed + j * depth + k * kPanel, kPanel, terms);
          put(tile, k > 0, result + (first + i) * columns + j, columns, height - i, columns - j);
        }
      if (j < columns)
        multiply_panel<1, false>(from, stride, height, packed + j * depth + k * kPanel, terms, k > 0,
                                 result + first * columns + j, columns, columns - j);
    }
    if (finish) (*finish)(result + first * columns, columns, height, 0, columns);
  });
}

// The transpose of [terms, rows] by [terms, columns].
inline void multiply_transposed(xla::ffi::ThreadPool& pool, const float* a, const float* b, int64_t terms, int64_t rows,
                                int64_t columns, float* result) {
  // As large a piece of the result at a time as gives all threads work: the larger, the less often all is read.  Where
  // there is little of it, the sum is taken in parts.
  constexpr int64_t width = kPanel * 8, wanted = 8;
  const int64_t across = up(columns, width), most = std::max<int64_t>(terms / (4 * kDepth), 1);
  int64_t height = kWideRows * 16;
  while (height > kWideRows * 4 && up(rows, height) * across * most < wanted) height /= 2;
  const int64_t down = up(rows, height);
  const int64_t parts = std::min(up(wanted, down * across), most);
  const int64_t each = up(up(terms, kDepth), parts) * kDepth;
  float* sums = parts > 1 ? scratch<0>(parts * rows * columns) : result;
  parallel_for(pool, parts * down * across, [&](int64_t item) {
    const int64_t part = item / (down * across), row = item / across % down * height, column = item % across * width;
    const int64_t tall = std::min(height, rows - row), wide = std::min(width, columns - column);
    const int64_t stride = up(tall, kWideRows) * kWideRows;
    float* of_a = scratch<1>(kDepth * height);
    float* of_b = scratch<2>(kDepth * width);
    float* to = sums + part * rows * columns + row * columns + column;
    if (part * each >= terms)
      for (int64_t i = 0; i < tall; ++i) std::memset(to + i * columns, 0, wide * sizeof(float));
    for (int64_t k = part * each; k < std::min((part + 1) * each, terms); k += kDepth) {
      const int64_t depth = std::min(kDepth, terms - k);
      copy(a + k * rows + row, rows, depth, tall, stride, of_a);
      for (int64_t i = 0; i < depth; ++i) {
        const float* from = b + (k + i) * columns + column;
        int64_t j = 0;
        for (; j + kPanel <= wide; j += kPanel)
          for (int64_t l = 0; l < kPanel; l += kWide)
            store<kWide>(of_b + j * kDepth + i * kPanel + l, load<kWide>(from + j + l));
        if (j < wide) copy(from + j, 0, 1, wide - j, kPanel, of_b + j * kDepth + i * kPanel);
      }
      int64_t j = 0;
      for (; wide - j > kWide; j += kPanel)
        multiply_panel<kPair, true>(of_a, stride, tall, of_b + j * kDepth, depth, k > part * each, to + j, columns,
                                    wide - j);
      if (j < wide)
        multiply_panel<1, true>(of_a, stride, tall, of_b + j * kDepth, depth, k > part * each, to + j, columns,
                                wide - j);
    }
  });
  if (parts == 1) return;
  parallel_for(pool, rows, [&](int64_t row) {
    for (int64_t j = row * columns; j < (row + 1) * columns; ++j) {
      float sum = 0;
      for (int64_t part = 0; part < parts; ++part) sum += sums[part * rows * columns + j];
      result[j] = sum;
    }
  });
}

}  // namespace nfnets::product
