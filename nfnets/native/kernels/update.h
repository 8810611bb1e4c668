// One step of SGD with adaptive gradient clipping, momentum and a moving average, for all parameters of a network.
//
// XLA updates them array by array, an operation for each of thousands, and computes what one result needs of another
// once more.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "geometry.h"
#include "parallel.h"

// Of a loop: no round reads what another writes, though its pointers may be alike.
#if defined(__clang__)
#define NFNETS_EACH_ALONE _Pragma("clang loop vectorize(assume_safety)")
#else
#define NFNETS_EACH_ALONE _Pragma("GCC ivdep")
#endif

namespace nfnets::update {

constexpr int64_t kPiece = 1 << 17;  // numbers of an array that one thread takes at a time
constexpr int64_t kLanes = 64;       // sums taken side by side

// An array: every column of [rows, units] is a unit.
struct Extent {
  int64_t rows, units;
  int64_t first;  // its first unit among those of all arrays

  int64_t size() const { return rows * units; }
};

// Rows of an array.
struct Piece {
  int64_t array, begin, end;
};

// All arrays in pieces: the same ones on every machine.
inline std::vector<Piece> pieces(const std::vector<Extent>& extents) {
  std::vector<Piece> all;
  for (int64_t i = 0; i < static_cast<int64_t>(extents.size()); ++i) {
    const int64_t rows = extents[i].rows, each = std::max<int64_t>(kPiece / extents[i].units, 1);
    for (int64_t row = 0; row < rows; row += each) all.push_back({i, row, std::min(row + each, rows)});
  }
  return all;
}

// The sum of the squares of `count` numbers.
inline float squares(const float* x, int64_t count) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) sums[j] += x[i + j] * x[i + j];
  for (; i < count; ++i) sums[i % kLanes] += x[i] * x[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  return sums[0];
}

// Of every unit of all arrays the sum of squares, side by side in `result`; returns their sum.
inline float sum_squares(xla::ffi::ThreadPool& pool, const std::vector<Extent>& extents,
                         const std::vector<const float*>& arrays, float* result) {
  const std::vector<Piece> all = pieces(extents);
  std::vector<int64_t> places;  // of the sums of each piece
  int64_t numbers = 0;
  for (const Piece& piece : all) {
    places.push_back(numbers);
    numbers += extents[piece.array].units;
  }
  float* sums = scratch<0>(numbers);
  parallel_for(pool, all.size(), [&](int64_t item) {
    const Piece& piece = all[item];
    const Extent& extent = extents[piece.array];
    float* to = sums + places[item];
    const float* x = arrays[piece.array];
    if (extent.units == 1) {
      *to = squares(x + piece.begin, piece.end - piece.begin);
      return;
    }
    std::memset(to, 0, extent.units * sizeof(float));
    for (int64_t row = piece.begin; row < piece.end; ++row) {
      const float* __restrict from = x + row * extent.units;
      float* __restrict sum = to;
      for (int64_t j = 0; j < extent.units; ++j) sum[j] += from[j] * from[j];
    }
  });
  for (const Extent& extent : extents) std::memset(result + extent.first, 0, extent.units * sizeof(float));
  for (size_t item = 0; item < all.size(); ++item) {
    const Extent& extent = extents[all[item].array];
    for (int64_t j = 0; j < extent.units; ++j) result[extent.first + j] += sums[places[item] + j];
  }
  double total = 0;
  for (const Extent& extent : extents)
    for (int64_t j = 0; j < extent.units; ++j) total += result[extent.first + j];
  return static_cast<float>(total);
}

// What is the same for all parameters and steps.
struct Rule {
  float clipping, eps, decay, momentum;
  bool nesterov;
};

// What is the same for all parameters in one step.
struct Rates {
  float learning, average;  // average: the share of the new parameters in their average
};

struct Parameter {
  bool clipped, decayed;
  float rate;  // by which its learning rate is multiplied
  const float *gradient, *weight, *velocity, *average;
  float *new_weight, *new_velocity, *new_average;  // may be those before
};

// By how much a gradient is multiplied whose unit has these sums of squares.
inline float factor(const Rule& rule, float of_gradient, float of_weight) {
  const float norm = std::sqrt(of_gradient), limit = rule.clipping * std::max(std::sqrt(of_weight), rule.eps);
  return norm > limit ? limit / norm : 1;
}

// `count` numbers of an array, whose gradients are multiplied by factors[0], factors[1], ..., or all by factors[0].
template <bool is_one>
void step(const Rule& rule, const Rates& rates, const Parameter& p, const float* factors, int64_t begin,
          int64_t count) {
  const float decay = p.decayed ? rule.decay : 0, learning = rates.learning * p.rate, kept = 1 - rates.average;
  // What is new lies where the old does, or apart: never one number over another.
  NFNETS_EACH_ALONE
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = begin + i;
    const float weight = p.weight[at], gradient = p.gradient[at] * factors[is_one ? 0 : i] + decay * weight;
    const float velocity = gradient + rule.momentum * p.velocity[at];
    const float moved = weight - learning * (rule.nesterov ? gradient + rule.momentum * velocity : velocity);
    p.new_velocity[at] = velocity;
    p.new_weight[at] = moved;
    p.new_average[at] = rates.average * moved + kept * p.average[at];
  }
}

// All parameters, where `of_gradients` and `of_weights` are the sums of squares of their units.
inline void take(xla::ffi::ThreadPool& pool, const Rule& rule, const Rates& rates, const std::vector<Extent>& extents,
                 const std::vector<Parameter>& parameters, const float* of_gradients, const float* of_weights) {
  const std::vector<Piece> all = pieces(extents);
  parallel_for(pool, all.size(), [&](int64_t item) {
    const Piece& piece = all[item];
    const Extent& extent = extents[piece.array];
    const Parameter& p = parameters[piece.array];
    float* factors = scratch<1>(extent.units);
    for (int64_t j = 0; j < extent.units; ++j)
      factors[j] = p.clipped ? factor(rule, of_gradients[extent.first + j], of_weights[extent.first + j]) : 1;
    if (extent.units == 1) return step<true>(rule, rates, p, factors, piece.begin, piece.end - piece.begin);
    for (int64_t row = piece.begin; row < piece.end; ++row)
      step<false>(rule, rates, p, factors, row * extent.units, extent.units);
  });
}

// Leaves all parameters as they are.
inline void keep(const std::vector<Extent>& extents, const std::vector<Parameter>& parameters) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    const size_t bytes = extents[i].size() * sizeof(float);
    if (p.new_weight != p.weight) std::memcpy(p.new_weight, p.weight, bytes);
    if (p.new_velocity != p.velocity) std::memcpy(p.new_velocity, p.velocity, bytes);
    if (p.new_average != p.average) std::memcpy(p.new_average, p.average, bytes);
  }
}

}  // namespace nfnets::update
