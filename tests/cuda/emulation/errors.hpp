// What goes wrong in an emulated kernel. Each message says in which thread of which block, or where on the host.
#pragma once

#include <stdexcept>
#include <string>

namespace qcore::emulation {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The launch itself is refused: its sizes are beyond what a device takes.
struct LaunchError : Error {
    using Error::Error;
};

// An access out of bounds, or a pointer that isn't aligned for its type.
struct AccessError : Error {
    using Error::Error;
};

// Threads that wait for one another in a way that a device need not survive.
struct SynchronizationError : Error {
    using Error::Error;
};

// "block (0, 0, 0), thread (5, 0, 0)" in a kernel, "the host" outside.
std::string position();

}  // namespace qcore::emulation
