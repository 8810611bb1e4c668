// Short vectors of float32 in the registers of the machine, and the product they are used for.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nfnets {

#if defined(__AVX512F__)
constexpr int kWide = 16;      // numbers in the widest register
constexpr int kWideRows = 12;  // rows of a tile of a product whose sums fill the registers
#elif defined(__AVX__)
constexpr int kWide = 8;
constexpr int kWideRows = 6;
#else
constexpr int kWide = 4;
constexpr int kWideRows = 8;
#endif
constexpr int kNarrow = std::min(kWide, 8);  // a group of eight channels fills one or two
constexpr int kPair = 2;                     // wide registers side by side

template <int lanes>
using Vector [[gnu::vector_size(lanes * 4), gnu::aligned(4), gnu::may_alias]] = float;

template <int lanes>
inline Vector<lanes> load(const float* from) {
  return *reinterpret_cast<const Vector<lanes>*>(from);
}

template <int lanes>
inline void store(float* to, Vector<lanes> numbers) {
  *reinterpret_cast<Vector<lanes>*>(to) = numbers;
}

// A tile of sums, held in registers: `rows` by `columns` vectors.
template <int lanes, int rows, int columns>
struct Tile {
  Vector<lanes> sums[rows][columns];

  void clear() {
    for (auto& row : sums)
      for (auto& sum : row) sum = Vector<lanes>{};
  }

  void write(float* to, int64_t stride) const {
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) store<lanes>(to + i * stride + j * lanes, sums[i][j]);
  }

  void add_to(float* to, int64_t stride) {
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) sums[i][j] += load<lanes>(to + i * stride + j * lanes);
    write(to, stride);
  }

  // Adds the product of `a`, whose element (i, k) is a[i * a_row + k * a_step], with the rows of `b`.
  void add(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, int64_t depth) {
    for (int64_t k = 0; k < depth; ++k, a += a_step, b += b_step) {
      Vector<lanes> of_b[columns];
#pragma GCC unroll 4
      for (int j = 0; j < columns; ++j) of_b[j] = load<lanes>(b + j * lanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const float of_a = a[i * a_row];
#pragma GCC unroll 4
        for (int j = 0; j < columns; ++j) sums[i][j] += of_a * of_b[j];
      }
    }
  }
};

}  // namespace nfnets
