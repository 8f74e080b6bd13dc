#include "bindings/array.hpp"

#include <string>

#include "core/dlpack.hpp"

#if defined(QCORE_DEVICE_MODULE)
#include "call.hpp"
#endif

namespace py = pybind11;

namespace qcore::bindings {

namespace {

[[noreturn]] void fail_value(const char* name, const std::string& text) { throw py::value_error(std::string(name) + ": " + text); }
[[noreturn]] void fail_type(const char* name, const std::string& text) { throw py::type_error(std::string(name) + ": " + text); }

constexpr const char* expected_types = "expected dtype float32, float64, bfloat16, float16, complex64 or complex128, got ";

DType dtype_of(const char* name, dlpack::DataType t) {
    if (t.lanes == 1) {
        if (t.code == dlpack::code_float && t.bits == 32) return DType::f32;
        if (t.code == dlpack::code_float && t.bits == 64) return DType::f64;
        if (t.code == dlpack::code_float && t.bits == 16) return DType::f16;
        if (t.code == dlpack::code_bfloat && t.bits == 16) return DType::bf16;
        if (t.code == dlpack::code_complex && t.bits == 64) return DType::c64;
        if (t.code == dlpack::code_complex && t.bits == 128) return DType::c128;
    }
    const char* kind = t.code == dlpack::code_int ? "int" : t.code == dlpack::code_uint ? "uint" : t.code == dlpack::code_bool ? "bool" : "type";
    fail_type(name, expected_types + std::string(kind) + std::to_string(t.bits));
}

void check_ndim(const char* name, int ndim) {
    if (ndim > TensorView::max_ndim)
        fail_value(name, "expected at most " + std::to_string(TensorView::max_ndim) + " axes, got " + std::to_string(ndim));
}

TensorView view_of(const char* name, const dlpack::Tensor& t) {
    TensorView v;
    v.dtype = dtype_of(name, t.dtype);
    check_ndim(name, t.ndim);
    v.ndim = t.ndim;
    std::int64_t packed = 1;
    for (int i = t.ndim - 1; i >= 0; --i) {
        v.shape[i] = t.shape[i];
        v.stride[i] = t.strides ? t.strides[i] : packed;
        packed *= t.shape[i];
    }
    v.device = t.device.type == dlpack::device_cpu || t.device.type == dlpack::device_cuda_host ? Device::cpu : Device::cuda;
    v.device_index = t.device.index;
    v.data = t.data ? static_cast<char*>(t.data) + t.byte_offset : nullptr;
    return v;
}

// The exchange API of a type, or null. Types are few and immortal in practice; a reference is kept so that an address is
// never reused by another type.
const dlpack::ExchangeApi* exchange_api(PyTypeObject* type) {
    struct Entry {
        PyTypeObject* type;
        const dlpack::ExchangeApi* api;
    };
    constexpr int capacity = 8;
    thread_local Entry cache[capacity];
    thread_local int used = 0;
    for (int i = 0; i < used; ++i)
        if (cache[i].type == type) return cache[i].api;

    const dlpack::ExchangeApi* api = nullptr;
    PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
    if (capsule) {
        if (PyCapsule_IsValid(capsule, "dlpack_exchange_api"))
            api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
        Py_DECREF(capsule);
    }
    PyErr_Clear();
    while (api && api->version.major > 1) api = api->previous;
    if (api && !api->tensor_from_object) api = nullptr;
    if (used < capacity) {
        Py_INCREF(type);
        cache[used++] = {type, api};
    }
    return api;
}

// Calls a predicate method such as is_conj; absent means false.
bool flagged(py::handle object, PyObject* method) {
    PyObject* result = PyObject_CallMethodNoArgs(object.ptr(), method);
    if (!result) {
        PyErr_Clear();
        return false;
    }
    const bool value = result == Py_True;
    Py_DECREF(result);
    return value;
}

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

struct BufferHolder {
    Py_buffer buffer;
};

}  // namespace

Array::Array(py::handle object, const char* name, [[maybe_unused]] Memory memory) : object_(object) {
    if (!from_exchange_api(name) && !from_dlpack(name) && !from_buffer(name))
        fail_type(name, "expected a tensor or array (DLPack or buffer protocol), got " + type_name(object));
    if (!view_.data && view_.numel() > 0) fail_value(name, "expected memory to read, got a tensor without data (fake or meta?)");
#if defined(QCORE_DEVICE_MODULE)
    if (memory == Memory::kernels) entered_ = cuda::enter(name, view_, exchange_api(Py_TYPE(object_.ptr())));
#endif
}

Array::~Array() {
#if defined(QCORE_DEVICE_MODULE)
    if (entered_) cuda::leave(view_);
#endif
}

bool Array::from_exchange_api(const char* name) {
    const dlpack::ExchangeApi* api = exchange_api(Py_TYPE(object_.ptr()));
    if (!api) return false;
    dlpack::Tensor t;
    if (api->tensor_from_object(object_.ptr(), &t) != 0) {
        if (!PyErr_Occurred()) return false;
        const std::string cause = py::error_already_set().what();
        fail_type(name, "expected a dense tensor with memory of its own, got " + type_name(object_) + " (" +
                            cause.substr(0, cause.find('\n')) + ")");
    }
    view_ = view_of(name, t);
    static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
    static PyObject* const is_conj = PyUnicode_InternFromString("is_conj");
    if ((is_complex(view_.dtype) && flagged(object_, is_conj)) || flagged(object_, is_neg))
        fail_value(name, "expected plain memory, got a lazily conjugated or negated view (call resolve_conj().resolve_neg())");
    return true;
}

bool Array::from_dlpack(const char* name) {
    if (!py::hasattr(object_, "__dlpack__")) return false;
    py::object capsule;
    try {
        capsule = object_.attr("__dlpack__")();
    } catch (py::error_already_set&) {
        return false;  // a read-only NumPy array, for one: the buffer protocol may still do
    }
    if (!PyCapsule_IsValid(capsule.ptr(), "dltensor")) return false;
    auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    view_ = view_of(name, managed->tensor);
    owner_ = std::move(capsule);  // not renamed to "used_dltensor": its own destructor frees it
    return true;
}

bool Array::from_buffer(const char* name) {
    if (!PyObject_CheckBuffer(object_.ptr())) return false;
    auto* holder = new BufferHolder;
    if (PyObject_GetBuffer(object_.ptr(), &holder->buffer, PyBUF_RECORDS_RO) != 0) {
        delete holder;
        fail_type(name, expected_types + std::string("an array that has no buffer (") + py::error_already_set().what() + ")");
    }
    owner_ = py::capsule(holder, [](void* p) {
        auto* h = static_cast<BufferHolder*>(p);
        PyBuffer_Release(&h->buffer);
        delete h;
    });
    const Py_buffer& b = holder->buffer;
    const std::string format = b.format ? b.format : "B";
    if (format == "f") view_.dtype = DType::f32;
    else if (format == "d") view_.dtype = DType::f64;
    else if (format == "e") view_.dtype = DType::f16;
    else if (format == "Zf") view_.dtype = DType::c64;
    else if (format == "Zd") view_.dtype = DType::c128;
    else fail_type(name, expected_types + std::string("buffer format '") + format + "'");
    check_ndim(name, b.ndim);
    view_.ndim = b.ndim;
    for (int i = 0; i < b.ndim; ++i) {
        if (b.strides[i] % b.itemsize != 0) fail_value(name, "expected strides that are whole elements, got a packed record view");
        view_.shape[i] = b.shape[i];
        view_.stride[i] = b.strides[i] / b.itemsize;
    }
    view_.data = b.buf;
    view_.read_only = b.readonly;
    return true;
}

}  // namespace qcore::bindings
