#include "call.hpp"

#include <cstdint>
#include <string>

#include "core/check.hpp"

#if defined(QCORE_EMULATION)
#include "emulation.hpp"
#endif

namespace qcore::cuda {

namespace {

struct CallOfThread : Call {
    int arrays = 0;
    std::string first;
};

CallOfThread& mine() {
    thread_local CallOfThread c;
    return c;
}

}  // namespace

const Call& call() { return mine(); }

bool enter(const char* name, TensorView& view, const dlpack::ExchangeApi* api) {
#if !defined(QCORE_EMULATION)
    if (view.device != Device::cuda) return false;
#endif
    CallOfThread& c = mine();
    if (c.arrays == 0) {
        static_cast<Call&>(c) = {view.device_index, nullptr, nullptr};
        c.first = name;
    } else if (view.device_index != c.device) {
        const auto device = [](int index) { return "cuda:" + std::to_string(index); };
        fail(name, "a tensor on " + device(c.device) + ", where " + c.first + " is", "one on " + device(view.device_index));
    }
    // Kernels read an element in one piece, which on a GPU has to be aligned; a processor does not mind.
    if (const auto size = static_cast<std::uintptr_t>(dtype_size(view.dtype));
        view.numel() > 0 && reinterpret_cast<std::uintptr_t>(view.data) % size != 0)
        fail(name, "elements at multiples of their size, " + std::to_string(size) + " bytes", "an address in between");
    if (!c.api && api && api->current_work_stream) {
        c.api = api;
#if !defined(QCORE_EMULATION)
        if (api->current_work_stream(dlpack::device_cuda, view.device_index, &c.stream) != 0)
            throw std::runtime_error("no current stream on cuda:" + std::to_string(view.device_index));
#endif
    }
#if defined(QCORE_EMULATION)
    if (view.numel() > 0) {
        const ByteRange range = byte_range(view);
        const std::ptrdiff_t offset = static_cast<char*>(view.data) - range.begin;
        const auto bytes = static_cast<std::size_t>(range.end - range.begin);
        view.data = static_cast<char*>(emulation::enter_memory(range.begin, bytes)) + offset;
    }
#endif
    ++c.arrays;
    return true;
}

void leave([[maybe_unused]] const TensorView& view) {
#if defined(QCORE_EMULATION)
    if (view.numel() > 0) emulation::leave_memory(byte_range(view).begin);
#endif
    --mine().arrays;
}

}  // namespace qcore::cuda
