// The part of the DLPack 1.x ABI that reading a tensor needs, declared here so that no header of a framework is included.
#pragma once

#include <cstdint>

namespace qcore::dlpack {

enum DeviceType : std::int32_t { device_cpu = 1, device_cuda = 2, device_cuda_host = 3 };
enum TypeCode : std::uint8_t { code_int = 0, code_uint = 1, code_float = 2, code_bfloat = 4, code_complex = 5, code_bool = 6 };

struct Device {
    std::int32_t type;
    std::int32_t index;
};

struct DataType {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; null means contiguous before version 1.2
    std::uint64_t byte_offset;
};

// What a capsule named "dltensor" holds.
struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor*);
};

struct Version {
    std::uint32_t major, minor;
};

// A tensor with its owner, since DLPack 1.0.
struct VersionedTensor {
    Version version;
    void* context;
    void (*deleter)(VersionedTensor*);
    std::uint64_t flags;
    Tensor tensor;
};

// What `type(tensor).__dlpack_c_exchange_api__` holds, in a capsule named "dlpack_exchange_api" (DLPack 1.3). Entries that
// aren't called here are left untyped; their order is the ABI.
struct ExchangeApi {
    Version version;
    ExchangeApi* previous;
    // An uninitialised tensor like the prototype, from the framework's own allocator.
    int (*allocate)(Tensor* prototype, VersionedTensor** out, void* error_context,
                    void (*set_error)(void* error_context, const char* kind, const char* message));
    void* managed_from_object;
    void* managed_to_object;
    int (*tensor_from_object)(void* object, Tensor* out);  // non-owning; may be null
    int (*current_work_stream)(std::int32_t device_type, std::int32_t device_index, void** stream);
};

}  // namespace qcore::dlpack
