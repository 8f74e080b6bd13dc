#include "chains.hpp"

namespace qcore::cuda {

namespace {

// As many as an argument by value has room for: a copy from host memory could not be captured in a graph.
struct Some {
    static constexpr int most = 256;
    std::int64_t values[most];
};

__global__ void store_kernel(Some from, Pointer<std::int64_t> to, int count) {
    for (std::int64_t i = thread(); i < count; i += threads()) to[i] = from.values[i];
}

}  // namespace

Integers::Integers(const Queue& queue, const std::int64_t* values, std::int64_t count)
    : memory_(queue, static_cast<std::size_t>(count) * sizeof(std::int64_t)) {
    for (std::int64_t begin = 0; begin < count; begin += Some::most) {
        Some part{};
        const int n = static_cast<int>(count - begin < Some::most ? count - begin : Some::most);
        for (int i = 0; i < n; ++i) part.values[i] = values[begin + i];
        launch(queue, store_kernel, grid_for(n, 256), part, pointer<std::int64_t>(data() + begin), n);
    }
}

}  // namespace qcore::cuda
