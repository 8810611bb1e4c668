// Where a convolution reads and writes.
#pragma once

#include <cstdint>

namespace nfnets {

// `image` [n, height, width, groups * depth], `kernel` [rows, columns, depth, groups * units] and the result
// [n, out_height, out_width, groups * units], all contiguous.
struct Geometry {
  int64_t n, height, width, out_height, out_width;
  int64_t rows, columns, stride, above, left;  // of the kernel; zeros above and left of the image
  int64_t groups, depth, units;                // channels of a group in the image and in the result
};

// a / b, rounded up.
inline int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace nfnets
