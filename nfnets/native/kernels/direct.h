// Convolutions as sums over the pixels of the kernel, of products with packed weights.
//
// The image of a group, or a band of its rows, is copied between zeros, so that nothing is asked at borders; sums stay
// in registers over all pixels of the kernel.  The gradient of the image is the same sum with other pixels: those of
// one remainder modulo the stride meet the same pixels of the kernel.  Channels are summed in panels; where these do
// not divide them the last panel lies over the one before, and what both have is computed twice.
#pragma once

#include <cstring>
#include <vector>

#include "finish.h"
#include "geometry.h"
#include "parallel.h"
#include "vectors.h"

namespace nfnets::direct {

constexpr int64_t kBand = 48 * 1024;  // numbers of a band of rows, to stay in the second cache
constexpr int64_t kTogether = 32;     // channels of narrow groups

inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -up(-a, b); }

// Neighbours in a row of the kernel that meet neighbours of the source: the first's place among all, where it finds its
// pixel, counted from that of the sum, and how many they are.
struct Taps {
  int64_t index, row, column, count;
};

// Sums that meet the same pixels of the kernel: those at first + step * (i, j).
struct Class {
  int64_t first_row, first_column, rows, columns;
  std::vector<Taps> taps;
};

// What is summed: pixels of a padded source, into pixels of a target.
struct Sweep {
  int64_t n, source_height, source_width, target_height, target_width;
  int64_t above, left, padded_width;   // of the source between its zeros
  int64_t source_step, target_step;    // from one sum to the next
  int64_t reach;                       // rows of the source that a sum meets
  int64_t groups, depth, units, taps;  // channels of a group of the source and the target; pixels of the kernel
  std::vector<Class> classes;
};

inline Sweep forward(const Geometry& g) {
  Class all{0, 0, g.out_height, g.out_width, {}};
  for (int64_t i = 0; i < g.rows; ++i) all.taps.push_back({i * g.columns, i, 0, g.columns});
  return {g.n,
          g.height,
          g.width,
          g.out_height,
          g.out_width,
          g.above,
          g.left,
          std::max((g.out_width - 1) * g.stride + g.columns, g.left + g.width),
          g.stride,
          1,
          g.rows,
          g.groups,
          g.depth,
          g.units,
          g.rows * g.columns,
          {all}};
}

inline Sweep input_gradient(const Geometry& g) {
  // Row i of the image meets row (i + above - row of the kernel) / stride of the result, if that is whole.
  const int64_t s = g.stride;
  const int64_t above = up(std::max<int64_t>(g.rows - 1 - g.above, 0), s);
  const int64_t left = up(std::max<int64_t>(g.columns - 1 - g.left, 0), s);
  const int64_t last = floor_div(g.width - 1 + g.left, s);
  Sweep sweep{g.n,
              g.out_height,
              g.out_width,
              g.height,
              g.width,
              above,
              left,
              left + std::max(g.out_width, last + 1),
              1,
              s,
              0,
              g.groups,
              g.units,
              g.depth,
              g.rows * g.columns,
              {}};
  for (int64_t y = 0; y < std::min(s, g.height); ++y)
    for (int64_t x = 0; x < std::min(s, g.width); ++x) {
      Class sums{y, x, up(g.height - y, s), up(g.width - x, s), {}};
      for (int64_t i = 0; i < g.rows; ++i)
        for (int64_t j = 0; j < g.columns; ++j) {
          const int64_t row = y + g.above - i, column = x + g.left - j;
          if (row - floor_div(row, s) * s || column - floor_div(column, s) * s) continue;
          const Taps taps{i * g.columns + j, floor_div(row, s) + above, floor_div(column, s) + left, 1};
          sums.taps.push_back(taps);
          sweep.reach = std::max(sweep.reach, taps.row + 1);
        }
      sweep.classes.push_back(sums);
    }
  return sweep;
}

// Rows [first, last) of the source between its zeros, of some channels, at most `count`, of `padded` at a time.
inline void pad(const float* image, int64_t height, int64_t width, int64_t channels, int64_t above, int64_t left,
                int64_t padded_width, int64_t first, int64_t last, int64_t count, int64_t padded, float* to) {
  for (int64_t row = first; row < last; ++row, to += padded_width * padded) {
    const int64_t from = row - above;
    if (from < 0 || from >= height) {
      std::memset(to, 0, padded_width * padded * sizeof(float));
      continue;
    }
    const int64_t shown = std::min(width, padded_width - left);
    std::memset(to, 0, left * padded * sizeof(float));
    if (count == channels && count == padded)
      std::memcpy(to + left * padded, image + from * width * channels, shown * channels * sizeof(float));
    else if (count == kNarrow && count == padded)
      for (int64_t x = 0; x < shown; ++x)
        store<kNarrow>(to + (left + x) * padded, load<kNarrow>(image + (from * width + x) * channels));
    else
      for (int64_t x = 0; x < shown; ++x) {
        float* pixel = to + (left + x) * padded;
        const float* of = image + (from * width + x) * channels;
        for (int64_t c = 0; c < count; ++c) pixel[c] = of[c];
        for (int64_t c = count; c < padded; ++c) pixel[c] = 0;
      }
    std::memset(to + (left + shown) * padded, 0, (padded_width - left - shown) * padded * sizeof(float));
  }
}

// The first channel of a panel.
inline int64_t start(int64_t index, int64_t panel, int64_t units) { return std::min(index * panel, units - panel); }

// The kernel [taps, depth, groups * units] as [groups, panels, taps, depth, panel]; transposed, with both depths
// exchanged, for the gradient of the image.
inline float* pack(xla::ffi::ThreadPool& pool, const Sweep& s, const float* kernel, bool transposed, int64_t panel) {
  const int64_t panels = up(s.units, panel);
  float* packed = scratch<0>(s.groups * panels * s.taps * s.depth * panel);
  const int64_t row = s.groups * (transposed ? s.depth : s.units);  // of the kernel
  parallel_for(
      pool, s.groups * panels,
      [&](int64_t item) {
        const int64_t group = item / panels, first = start(item % panels, panel, s.units);
        float* to = packed + item * s.taps * s.depth * panel;
        for (int64_t tap = 0; tap < s.taps; ++tap)
          for (int64_t k = 0; k < s.depth; ++k, to += panel)
            if (transposed) {
              const float* from = kernel + (tap * s.units + first) * row + group * s.depth + k;
              for (int64_t u = 0; u < panel; ++u) to[u] = from[u * row];
            } else {
              std::memcpy(to, kernel + (tap * s.depth + k) * row + group * s.units + first, panel * sizeof(float));
            }
      },
      s.groups * s.taps * s.depth * s.units < kFew);
  return packed;
}

// The sums of `pixels` neighbours of one row.
template <int lanes, int pixels, int columns>
void sum(const Sweep& s, const Class& sums, const float* source, const float* weights, float* target, int64_t stride) {
  Tile<lanes, pixels, columns> tile;
  tile.clear();
  for (const Taps& taps : sums.taps)
    tile.add(source + (taps.row * s.padded_width + taps.column) * s.depth, s.source_step * s.depth, 1,
             weights + taps.index * s.depth * lanes * columns, lanes * columns, taps.count * s.depth);
  tile.write(target, stride);
}

using Sum = void (*)(const Sweep&, const Class&, const float*, const float*, float*, int64_t);

struct Step {
  int64_t pixels;
  Sum sum;
};

// How many neighbours to sum at once, so that few are summed twice at the end of a row and registers are full.
template <int lanes, int columns>
Step step_for(int64_t width) {
  constexpr int most = columns == 1 ? 12 : kWideRows, some = std::min(most, 8);
  static const Step steps[] = {{1, sum<lanes, 1, columns>},       {2, sum<lanes, 2, columns>},
                               {4, sum<lanes, 4, columns>},       {6, sum<lanes, 6, columns>},
                               {some, sum<lanes, some, columns>}, {most, sum<lanes, most, columns>}};
  constexpr int64_t hidden = 8 / columns;  // sums under way that hide how long an addition takes
  Step best = steps[0];
  int64_t least = INT64_MAX;
  for (const Step& step : steps) {
    const int64_t cost = up(width, step.pixels) * (std::max(step.pixels, hidden) + 1);
    if (step.pixels <= width && cost <= least) best = step, least = cost;
  }
  return best;
}

template <int lanes, int columns>
void run(xla::ffi::ThreadPool& pool, const Sweep& s, const float* source, const float* kernel, bool transposed,
         float* target, const Finish* finish) {
  constexpr int64_t panel = lanes * columns;
  const float* packed = pack(pool, s, kernel, transposed, panel);
  const int64_t channels = s.groups * s.units, panels = up(s.units, panel);
  int64_t rows = 0;
  for (const Class& sums : s.classes) rows = std::max(rows, sums.rows);
  const int64_t row_numbers = s.padded_width * s.depth;
  const int64_t band = std::clamp<int64_t>((kBand / row_numbers - s.reach) / s.source_step + 1, 1, rows);
  const int64_t bands = up(rows, band);
  // Narrow groups together, so that no two threads write into one line of the cache.
  const int64_t together = std::clamp<int64_t>(kTogether / s.units, 1, s.groups), blocks = up(s.groups, together);
  const auto sum_group = [&](int64_t image, int64_t group, int64_t first) {
    const int64_t last = std::min(first + band, rows), top = first * s.source_step;
    const int64_t bottom = (last - 1) * s.source_step + s.reach;
    float* padded = scratch<1>((bottom - top) * row_numbers);
    pad(source + image * s.source_height * s.source_width * s.groups * s.depth + group * s.depth, s.source_height,
        s.source_width, s.groups * s.depth, s.above, s.left, s.padded_width, top, bottom, s.depth, s.depth, padded);
    for (int64_t i = 0; i < panels; ++i) {
      const int64_t u = start(i, panel, s.units);
      const float* weights = packed + (group * panels + i) * s.taps * s.depth * panel;
      for (const Class& sums : s.classes) {
        const Step step = step_for<lanes, columns>(sums.columns);
        for (int64_t y = first; y < std::min(last, sums.rows); ++y) {
          const int64_t row = (image * s.target_height + sums.first_row + y * s.target_step) * s.target_width;
          for (int64_t begin = 0; begin < sums.columns; begin += step.pixels) {
            const int64_t x = std::min(begin, sums.columns - step.pixels);
            step.sum(s, sums, padded + ((y * s.source_step - top) * s.padded_width + x * s.source_step) * s.depth,
                     weights, target + (row + sums.first_column + x * s.target_step) * channels + group * s.units + u,
                     s.target_step * channels);
          }
        }
      }
    }
  };
  parallel_for(pool, s.n * blocks * bands, [&](int64_t item) {
    const int64_t image = item / bands / blocks, from = item / bands % blocks * together, first = item % bands * band;
    const int64_t until = std::min(from + together, s.groups);
    for (int64_t group = from; group < until; ++group) sum_group(image, group, first);
    if (finish)  // of sums whose class is the only one, and has whole rows
      (*finish)(target + (image * s.target_height + first) * s.target_width * channels + from * s.units, channels,
                std::min(band, rows - first) * s.target_width, from * s.units, (until - from) * s.units);
  });
}

// Forwards, finished if so wanted, and the gradient of the image.  A group of the target has eight channels or more.
inline void convolve(xla::ffi::ThreadPool& pool, const Sweep& s, const float* source, const float* kernel,
                     bool transposed, float* target, const Finish* finish = nullptr) {
  if (s.units % (kWide * kPair) == 0)
    run<kWide, kPair>(pool, s, source, kernel, transposed, target, finish);
  else if (s.units >= kWide)
    run<kWide, 1>(pool, s, source, kernel, transposed, target, finish);
  else
    run<kNarrow, 8 / kNarrow>(pool, s, source, kernel, transposed, target, finish);
}

template <int lanes, int columns>
void run_kernel_gradient(xla::ffi::ThreadPool& pool, const Geometry& g, const float* image, const float* cotangent,
                         float* gradient) {
  constexpr int64_t panel = lanes * columns, rows = 8;
  const int64_t padded_width = std::max((g.out_width - 1) * g.stride + g.columns, g.left + g.width);
  const int64_t channels = g.groups * g.units, panels = up(g.units, panel);
  // Where channels are few, as those of an image, pixels lie side by side, and the neighbours that a row of the kernel
  // meets are taken for one with all of their channels.
  const bool merged = g.groups == 1 && g.depth < rows;
  const int64_t span = merged ? g.columns : 1, all = g.depth * span, across = g.columns / span, taps = g.rows * across;
  // Few channels at a time, where there are not enough groups to keep all threads at work.
  const int64_t wanted = std::clamp<int64_t>(4 * pool.num_threads() / g.groups, 1, up(all, rows));
  const int64_t block = std::min<int64_t>(up(up(all, wanted), rows) * rows, 32);
  const int64_t blocks = up(all, block), pixel = merged ? g.depth : block;
  parallel_for(pool, g.groups * blocks, [&](int64_t item) {
    const int64_t group = item / blocks, first = item % blocks * block;
    const int64_t depth = std::min(block, all - first), offset = merged ? first : 0;
    float* sums = scratch<1>(panels * taps * block * panel);
    std::memset(sums, 0, panels * taps * block * panel * sizeof(float));
    // Numbers for a row of the result; of 32 channels, so that sums do not depend on the number of threads.
    const int64_t each = g.stride * padded_width * 32 + g.out_width * g.units;
    const int64_t band = std::clamp<int64_t>(2 * kBand / each, 1, g.out_height);
    const int64_t most = ((band - 1) * g.stride + g.rows) * padded_width * pixel;
    float* padded = scratch<2>(most + offset + block);
    std::memset(padded + most, 0, (offset + block) * sizeof(float));  // tiles read whole blocks
    float* packed = scratch<3>(panels * band * g.out_width * panel);
    for (int64_t n = 0; n < g.n; ++n)
      for (int64_t top = 0; top < g.out_height; top += band) {
        const int64_t height = std::min(band, g.out_height - top);
        pad(image + n * g.height * g.width * g.groups * g.depth + group * g.depth + (first - offset), g.height, g.width,
            g.groups * g.depth, g.above, g.left, padded_width, top * g.stride, (top + height - 1) * g.stride + g.rows,
            merged ? g.depth : depth, pixel, padded);
        const float* from = cotangent + (n * g.out_height + top) * g.out_width * channels + group * g.units;
        for (int64_t at = 0; at < height * g.out_width; ++at, from += channels)
          for (int64_t i = 0; i < panels; ++i)
            for (int j = 0; j < columns; ++j)
              store<lanes>(packed + (i * height * g.out_width + at) * panel + j * lanes,
                           load<lanes>(from + start(i, panel, g.units) + j * lanes));
        for (int64_t i = 0; i < panels; ++i)
          for (int64_t tap = 0; tap < taps; ++tap)
            for (int64_t c = 0; c < block; c += rows) {
              float* of = sums + ((i * taps + tap) * block + c) * panel;
              const float* a = padded + (tap / across * padded_width + tap % across) * pixel + offset + c;
              const float* b = packed + i * height * g.out_width * panel;
              Tile<lanes, rows, columns> tile;
              tile.clear();  // sums of sums lose less than one long sum
              for (int64_t y = 0; y < height; ++y)
                tile.add(a + y * g.stride * padded_width * pixel, 1, g.stride * pixel, b + y * g.out_width * panel,
                         panel, g.out_width);
              tile.add_to(of, panel);
            }
      }
    for (int64_t i = 0; i < panels; ++i)
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = 0; c < depth; ++c)
          std::memcpy(
              gradient + (tap * all + first + c) * channels + group * g.units + start(i, panel, g.units),
              sums + ((i * taps + tap) * block + c) * panel, panel * sizeof(float));
  });
}

// The gradient of the kernel.  A group of the result has eight channels or more.
inline void kernel_gradient(xla::ffi::ThreadPool& pool, const Geometry& g, const float* image, const float* cotangent,
                            float* gradient) {
  if (g.units % (kWide * kPair) == 0)
    run_kernel_gradient<kWide, kPair>(pool, g, image, cotangent, gradient);
  else
    run_kernel_gradient<kNarrow, 8 / kNarrow>(pool, g, image, cotangent, gradient);
}

}  // namespace nfnets::direct
