// What becomes of the sums of a convolution while they are still near: a bias and a nonlinearity.
#pragma once

#include <cstring>
#include <limits>

#include "vectors.h"

namespace nfnets {

// By the numbers that `native_convolution.py` calls them by.
enum class Activation : int64_t { relu = 1, silu = 2, gelu = 3 };

// e^x to a unit in the last place or two; infinite beyond 88, and below -87 what it is there.
template <int lanes>
inline Vector<lanes> exponential(Vector<lanes> argument) {
  using V = Vector<lanes>;
  using Bits [[gnu::vector_size(lanes * 4)]] = int32_t;
  constexpr float most = 88, least = -87, by_ln2 = 1.44269504f, ln2 = 0.693359375f, rest = -2.12194440e-4f;
  constexpr float whole = 12582912;  // 1.5 * 2^23: a sum with it has no places behind the point
  V x = argument > most ? V{} + most : argument;
  x = x < least ? V{} + least : x;
  const V shifted = x * by_ln2 + whole, power = shifted - whole, r = x - power * ln2 - power * rest;
  V sum = V{} + 1.f / 5040;
  for (const float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) sum = sum * r + term;
  Bits bits, exponent;
  std::memcpy(&bits, &sum, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 23;  // the lowest bits of `shifted` are the power of two
  std::memcpy(&sum, &bits, sizeof sum);
  return argument > most ? V{} + std::numeric_limits<float>::infinity() : sum;
}

template <int lanes, Activation activation>
inline Vector<lanes> activate(Vector<lanes> x) {
  if constexpr (activation == Activation::relu) return x > 0 ? x : x * 0;  // NaN stays
  if constexpr (activation == Activation::silu) return x / (1 + exponential<lanes>(-x));
  if constexpr (activation == Activation::gelu) {  // by the hyperbolic tangent; (1 + tanh u) / 2 = 1 / (1 + e^(-2u))
    constexpr float twice = 1.5957691216f, cubic = 0.044715f;  // 2 sqrt(2 / pi)
    return x / (1 + exponential<lanes>(-twice * (x + cubic * x * x * x)));
  }
}

class Finish {
 public:
  Finish(const float* bias, Activation activation) : bias_(bias), activation_(activation) {}

  // Channels [first, first + count) of `rows` pixels, in place.
  void operator()(float* pixels, int64_t stride, int64_t rows, int64_t first, int64_t count) const {
    switch (activation_) {
      case Activation::relu:
        return run<Activation::relu>(pixels, stride, rows, first, count);
      case Activation::silu:
        return run<Activation::silu>(pixels, stride, rows, first, count);
      case Activation::gelu:
        return run<Activation::gelu>(pixels, stride, rows, first, count);
    }
  }

 private:
  template <Activation activation>
  void run(float* pixels, int64_t stride, int64_t rows, int64_t first, int64_t count) const {
    const float* bias = bias_ + first;
    for (int64_t row = 0; row < rows; ++row, pixels += stride) {
      const auto finished = [&](int64_t c) {
        return activate<kWide, activation>(load<kWide>(pixels + c) + load<kWide>(bias + c));
      };
      if (count < kWide) {
        float numbers[2 * kWide] = {};
        std::memcpy(numbers, pixels, count * sizeof(float));
        std::memcpy(numbers + kWide, bias, count * sizeof(float));
        store<kWide>(numbers, activate<kWide, activation>(load<kWide>(numbers) + load<kWide>(numbers + kWide)));
        std::memcpy(pixels, numbers, count * sizeof(float));
        continue;
      }
      const auto end = finished(count - kWide);  // before what it has in common with others is overwritten
      for (int64_t c = 0; c + kWide < count; c += kWide) store<kWide>(pixels + c, finished(c));
      store<kWide>(pixels + count - kWide, end);
    }
  }

  const float* bias_;
  Activation activation_;
};

}  // namespace nfnets
