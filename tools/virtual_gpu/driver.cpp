// libcuda.so.1 for a GPU that there is not: as much of NVIDIA's driver interface as numba-cuda and fastrnn call.
//
// All work is done before a call returns. Streams differ only in whether they are being recorded. What a
// kernel does wrong is printed, and every later call fails, as it does on a GPU.
//
// From the environment: VIRTUAL_GPU_MEMORY, bytes that there are (2^30; those in which races are looked for take
// thirteen times as many here, of bytes and booleans fifty); VIRTUAL_GPU_SEED, of the order in which blocks, warps and the nodes of a graph
// take turns (0); VIRTUAL_GPU_RACES=0: races are not looked for.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <set>
#include <unordered_map>

#include "machine.h"

namespace {

// Of cuda.h.
enum Status { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_IMAGE = 200,
              INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, UNJOINED = 904, UNKNOWN = 999 };
constexpr int VERSION = 13000;
constexpr size_t FREE_SHARED = 48 << 10, MOST_SHARED = 227 << 10;  // of a block, as on an H200

using Handle = void*;

// Attributes of the device by their number in cuda.h; those of an H200, all others 0.
const std::map<int, int> ATTRIBUTES = {
    {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, int(FREE_SHARED)},
    {9, 65536}, {10, 32}, {12, 65536}, {13, 1980000}, {16, 132}, {19, 1}, {31, 1}, {38, 62914560}, {39, 2048},
    {41, 1}, {75, 9}, {76, 0}, {78, 1}, {79, 1}, {80, 1}, {81, 233472}, {82, 65536}, {87, 2}, {95, 1},
    {97, int(MOST_SHARED)}, {106, 32}, {111, 1024},
};

struct Kernel {
    std::shared_ptr<Program> program;
    size_t allowed = FREE_SHARED;  // of shared memory that a launch may ask for
};

struct Library {
    std::map<std::string, Kernel> kernels;
};

struct Link {
    std::string ptx;
};

struct Node {
    std::function<void()> work;
    std::vector<Node*> after;
};

struct Graph {
    std::vector<std::unique_ptr<Node>> nodes;
};

struct Stream {
    std::unique_ptr<Graph> recorded;
    std::vector<Node*> next_after;
    std::vector<uint64_t> edges;  // what is to be said of each of these: nothing
};

struct Event {};

uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

struct Device {
    Memory memory{from_environment("VIRTUAL_GPU_MEMORY", uint64_t(1) << 30)};
    Checks checks{from_environment("VIRTUAL_GPU_RACES", 1) != 0};
    std::mt19937 random{unsigned(from_environment("VIRTUAL_GPU_SEED", 0))};
    std::recursive_mutex turn;
    Status broken = SUCCESS;
    uint64_t calls_left = UINT64_MAX;  // until it is lost, for tests
};

Device& device() {
    static Device* the = new Device;  // never ended: Python's threads may still call
    return *the;
}

char context_place;
const Handle CONTEXT = &context_place;
thread_local std::vector<Handle> contexts;

// What every call does: one after the other, and none once the device is lost.
template <class F> Status doing(F work) {
    Device& gpu = device();
    const std::lock_guard<std::recursive_mutex> lock(gpu.turn);
    if (gpu.broken) return gpu.broken;
    try {
        work();
        return SUCCESS;
    } catch (const Status status) {
        return status;
    } catch (const std::exception& fault) {
        std::fprintf(stderr, "virtual GPU: %s\n", fault.what());
        return gpu.broken = ILLEGAL_ADDRESS;
    }
}

// Does some work now, or records it.
void submit(Handle handle, std::function<void()> work) {
    Device& gpu = device();
    if (gpu.calls_left != UINT64_MAX && gpu.calls_left-- == 0) throw gpu.broken = UNKNOWN;
    auto* stream = static_cast<Stream*>(handle);
    if (reinterpret_cast<uintptr_t>(handle) <= 2 || !stream->recorded) return work();  // 1, 2: the default ones
    auto node = std::make_unique<Node>(Node{std::move(work), stream->next_after});
    stream->next_after = {node.get()};
    stream->recorded->nodes.push_back(std::move(node));
}

// All nodes, each after those that it waits for, and else in any order.
void run(const Graph& graph) {
    std::set<const Node*> done;
    std::vector<const Node*> left;
    for (const auto& node : graph.nodes) left.push_back(node.get());
    while (!left.empty()) {
        std::vector<size_t> ready;
        for (size_t i = 0; i < left.size(); ++i)
            if (std::all_of(left[i]->after.begin(), left[i]->after.end(), [&](Node* n) { return done.count(n); }))
                ready.push_back(i);
        const size_t which = ready[device().random() % ready.size()];
        left[which]->work();
        done.insert(left[which]);
        left.erase(left.begin() + which);
    }
}

void check_range(uint64_t address, size_t size) {
    const Memory::Allocation* allocation = device().memory.around(address);
    if (size && (!allocation || address + size > allocation->end)) throw INVALID_VALUE;
}

void copy(void* to, const void* from, size_t size) { std::memmove(to, from, size); }

void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

// -- memory -------------------------------------------------------------------------------------

uint64_t Memory::allocate(size_t size) {
    if (size > left()) return 0;
    void* memory = std::aligned_alloc(512, (size + 1023) / 512 * 512);
    if (!memory) return 0;
    std::memset(memory, 0xff, size);  // undefined: NaN
    used_ += size;
    const auto begin = reinterpret_cast<uint64_t>(memory);
    allocations_[begin] = {begin, begin + size, {}};
    return begin;
}

bool Memory::release(uint64_t begin) {
    const auto found = allocations_.find(begin);
    if (found == allocations_.end()) return false;
    used_ -= found->second.end - begin;
    allocations_.erase(found);
    std::free(pointer(begin));
    return true;
}

Memory::Allocation* Memory::around(uint64_t address) {
    auto found = allocations_.upper_bound(address);
    if (found == allocations_.begin()) return nullptr;
    --found;
    return address < found->second.end ? &found->second : nullptr;
}

// -- the driver's interface ---------------------------------------------------------------------

extern "C" {

Status cuInit(unsigned) { return SUCCESS; }
Status cuDriverGetVersion(int* version) { return *version = VERSION, SUCCESS; }
Status cuDeviceGetCount(int* count) { return *count = 1, SUCCESS; }
Status cuDeviceGet(int* found, int ordinal) { return *found = 0, ordinal ? INVALID_VALUE : SUCCESS; }
Status cuDeviceGetName(char* name, int size, int) { return std::snprintf(name, size, "virtual GPU"), SUCCESS; }
Status cuDeviceTotalMem(size_t* bytes, int) { return *bytes = device().memory.total(), SUCCESS; }
Status cuDeviceGetUuid(uint8_t* uuid, int) { return std::memset(uuid, 1, 16), SUCCESS; }
Status cuDeviceComputeCapability(int* major, int* minor, int) { return *major = 9, *minor = 0, SUCCESS; }
Status cuDeviceCanAccessPeer(int* can, int, int) { return *can = 0, SUCCESS; }

Status cuDeviceGetAttribute(int* value, int attribute, int) {
    const auto found = ATTRIBUTES.find(attribute);
    return *value = found == ATTRIBUTES.end() ? 0 : found->second, SUCCESS;
}

Status cuGetErrorName(Status status, const char** name) {
    static const std::map<Status, const char*> names = {
        {SUCCESS, "CUDA_SUCCESS"}, {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"}, {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
    };
    const auto found = names.find(status);
    return *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second, SUCCESS;
}

Status cuGetErrorString(Status status, const char** text) { return cuGetErrorName(status, text); }

// -- contexts

Status cuDevicePrimaryCtxRetain(Handle* context, int) { return *context = CONTEXT, SUCCESS; }
Status cuDevicePrimaryCtxRelease(int) { return SUCCESS; }
Status cuDevicePrimaryCtxReset(int) { return device().broken = SUCCESS; }
Status cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { return *flags = 0, *active = 1, SUCCESS; }
Status cuCtxPushCurrent(Handle context) { return contexts.push_back(context), SUCCESS; }
Status cuCtxGetCurrent(Handle* context) { return *context = contexts.empty() ? nullptr : contexts.back(), SUCCESS; }
Status cuCtxGetDevice(int* found) { return *found = 0, contexts.empty() ? INVALID_CONTEXT : SUCCESS; }
Status cuCtxSynchronize() { return device().broken; }
Status cuCtxGetApiVersion(Handle, unsigned* version) { return *version = VERSION, SUCCESS; }
Status cuCtxGetStreamPriorityRange(int* least, int* greatest) { return *least = *greatest = 0, SUCCESS; }

Status cuCtxPopCurrent(Handle* context) {
    if (contexts.empty()) return INVALID_CONTEXT;
    if (context) *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}

Status cuCtxSetCurrent(Handle context) {
    if (!contexts.empty()) contexts.pop_back();
    if (context) contexts.push_back(context);
    return SUCCESS;
}

// -- memory

Status cuMemAlloc(uint64_t* address, size_t size) {
    return doing([&] {
        if (!size) throw INVALID_VALUE;
        *address = device().memory.allocate(size);
        if (!*address) throw OUT_OF_MEMORY;
    });
}

Status cuMemFree(uint64_t address) {
    return doing([&] {
        if (address && !device().memory.release(address)) throw INVALID_VALUE;
    });
}

Status cuMemGetInfo(size_t* left, size_t* total) {
    return *left = device().memory.left(), *total = device().memory.total(), device().broken;
}

Status cuMemGetAddressRange(uint64_t* begin, size_t* size, uint64_t address) {
    return doing([&] {
        const Memory::Allocation* allocation = device().memory.around(address);
        if (!allocation) throw INVALID_VALUE;
        if (begin) *begin = allocation->begin;
        if (size) *size = allocation->end - allocation->begin;
    });
}

Status cuMemHostAlloc(void** memory, size_t size, unsigned) {
    return *memory = std::aligned_alloc(64, (size + 64) / 64 * 64), *memory ? SUCCESS : OUT_OF_MEMORY;
}

Status cuMemFreeHost(void* memory) { return std::free(memory), SUCCESS; }

Status cuMemcpyHtoDAsync(uint64_t to, const void* from, size_t size, Handle stream) {
    return doing([&] {
        check_range(to, size);
        submit(stream, [=] { copy(pointer(to), from, size); });
    });
}

Status cuMemcpyDtoHAsync(void* to, uint64_t from, size_t size, Handle stream) {
    return doing([&] {
        check_range(from, size);
        submit(stream, [=] { copy(to, pointer(from), size); });
    });
}

Status cuMemcpyDtoDAsync(uint64_t to, uint64_t from, size_t size, Handle stream) {
    return doing([&] {
        check_range(to, size), check_range(from, size);
        submit(stream, [=] { copy(pointer(to), pointer(from), size); });
    });
}

Status cuMemsetD8Async(uint64_t to, uint8_t value, size_t size, Handle stream) {
    return doing([&] {
        check_range(to, size);
        submit(stream, [=] { std::memset(pointer(to), value, size); });
    });
}

Status cuMemcpyHtoD(uint64_t to, const void* from, size_t size) { return cuMemcpyHtoDAsync(to, from, size, nullptr); }
Status cuMemcpyDtoH(void* to, uint64_t from, size_t size) { return cuMemcpyDtoHAsync(to, from, size, nullptr); }
Status cuMemcpyDtoD(uint64_t to, uint64_t from, size_t size) { return cuMemcpyDtoDAsync(to, from, size, nullptr); }
Status cuMemsetD8(uint64_t to, uint8_t value, size_t size) { return cuMemsetD8Async(to, value, size, nullptr); }

Status cuPointerGetAttribute(void* data, int attribute, uint64_t address) {
    return doing([&] {
        constexpr int AT_CONTEXT = 1, AT_MEMORY_TYPE = 2, AT_DEVICE_POINTER = 3, AT_ORDINAL = 9, ON_DEVICE = 2;
        if (!device().memory.around(address)) throw INVALID_VALUE;
        switch (attribute) {
        case AT_CONTEXT: *static_cast<Handle*>(data) = CONTEXT; break;
        case AT_MEMORY_TYPE: *static_cast<int*>(data) = ON_DEVICE; break;
        case AT_DEVICE_POINTER: *static_cast<uint64_t*>(data) = address; break;
        case AT_ORDINAL: *static_cast<int*>(data) = 0; break;
        default: throw INVALID_VALUE;
        }
    });
}

// -- kernels: what is linked stays PTX

Status cuLinkCreate(unsigned, int*, void**, Handle* link) { return *link = new Link, SUCCESS; }
Status cuLinkDestroy(Handle link) { return delete static_cast<Link*>(link), SUCCESS; }

Status cuLinkAddData(Handle link, int, void* data, size_t size, const char*, unsigned, int*, void**) {
    return static_cast<Link*>(link)->ptx.append(static_cast<char*>(data), size), SUCCESS;
}

Status cuLinkComplete(Handle handle, void** image, size_t* size) {
    auto* link = static_cast<Link*>(handle);
    return *image = link->ptx.data(), *size = link->ptx.size() + 1, SUCCESS;
}

Status cuLibraryLoadData(Handle* library, const void* code, int*, void**, unsigned, int*, void**, unsigned) {
    return doing([&] {
        auto made = std::make_unique<Library>();
        try {
            if (std::memcmp(code, "\x7f""ELF", 4) == 0)
                throw Fault("machine code; without nvidia-nvjitlink kernels come as PTX");
            for (auto& [name, program] : parse(static_cast<const char*>(code))) made->kernels[name] = {program};
        } catch (const std::exception& fault) {
            std::fprintf(stderr, "virtual GPU: %s\n", fault.what());
            throw INVALID_IMAGE;
        }
        *library = made.release();
    });
}

Status cuLibraryUnload(Handle library) {
    return doing([&] { delete static_cast<Library*>(library); });
}

Status cuLibraryGetKernel(Handle* kernel, Handle library, const char* name) {
    auto& kernels = static_cast<Library*>(library)->kernels;
    const auto found = kernels.find(name);
    return *kernel = found == kernels.end() ? nullptr : &found->second, *kernel ? SUCCESS : NOT_FOUND;
}

Status cuLibraryGetGlobal(uint64_t*, size_t*, Handle, const char*) { return NOT_FOUND; }
Status cuKernelGetFunction(Handle* function, Handle kernel) { return *function = kernel, SUCCESS; }
Status cuKernelSetCacheConfig(Handle, int, int) { return SUCCESS; }

Status cuKernelGetAttribute(int* value, int attribute, Handle kernel, int) {
    constexpr int MOST_THREADS = 0, SHARED = 1;
    const Program& program = *static_cast<Kernel*>(kernel)->program;
    *value = 0;
    if (attribute == MOST_THREADS) *value = int(program.most_threads);
    if (attribute == SHARED) *value = int(program.shared_bytes);
    return SUCCESS;
}

Status cuFuncGetAttribute(int* value, int attribute, Handle kernel) {
    return cuKernelGetAttribute(value, attribute, kernel, 0);
}

Status cuKernelSetAttribute(int attribute, int value, Handle kernel, int) {
    constexpr int MOST_DYNAMIC_SHARED = 8;
    auto* of = static_cast<Kernel*>(kernel);
    if (attribute != MOST_DYNAMIC_SHARED || value + of->program->shared_bytes > MOST_SHARED) return INVALID_VALUE;
    return of->allowed = value, SUCCESS;
}

Status cuLaunchKernel(Handle handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, Handle stream, void** parameters, void**) {
    return doing([&] {
        const auto& [program, allowed] = *static_cast<Kernel*>(handle);
        const uint64_t threads = uint64_t(block_x) * block_y * block_z;
        if (!grid_x || !grid_y || !grid_z || grid_y > 65535 || grid_z > 65535) throw INVALID_VALUE;
        if (!threads || threads > program->most_threads) throw INVALID_VALUE;
        if (program->shared_bytes + shared > allowed) throw INVALID_VALUE;
        Launch launch{program, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared,
                      std::vector<uint8_t>(program->parameter_bytes)};
        for (size_t i = 0; i < program->parameters.size(); ++i) {
            const auto [place, size] = program->parameters[i];
            std::memcpy(launch.parameters.data() + place, parameters[i], size);
        }
        submit(stream, [launch = std::move(launch)] {
            Device& gpu = device();
            run(launch, gpu.memory, gpu.checks, gpu.random);
        });
    });
}

// -- streams and events

Status cuStreamCreate(Handle* stream, unsigned) { return *stream = new Stream, SUCCESS; }
Status cuStreamCreateWithPriority(Handle* stream, unsigned, int) { return *stream = new Stream, SUCCESS; }
Status cuStreamDestroy(Handle stream) { return delete static_cast<Stream*>(stream), device().broken; }
Status cuStreamSynchronize(Handle) { return device().broken; }
Status cuStreamQuery(Handle) { return device().broken; }
Status cuStreamWaitEvent(Handle, Handle, unsigned) { return SUCCESS; }
Status cuEventCreate(Handle* event, unsigned) { return *event = new Event, SUCCESS; }
Status cuEventDestroy(Handle event) { return delete static_cast<Event*>(event), device().broken; }
Status cuEventRecord(Handle, Handle) { return device().broken; }
Status cuEventQuery(Handle) { return device().broken; }
Status cuEventSynchronize(Handle) { return device().broken; }
Status cuEventElapsedTime(float* ms, Handle, Handle) { return *ms = 0, SUCCESS; }

// -- graphs

Status cuStreamBeginCapture(Handle handle, int) {
    auto* stream = static_cast<Stream*>(handle);
    return stream->recorded = std::make_unique<Graph>(), stream->next_after.clear(), SUCCESS;
}

Status cuStreamEndCapture(Handle handle, Handle* graph) {
    auto* stream = static_cast<Stream*>(handle);
    std::set<const Node*> awaited(stream->next_after.begin(), stream->next_after.end());
    for (const auto& node : stream->recorded->nodes) awaited.insert(node->after.begin(), node->after.end());
    for (const auto& node : stream->recorded->nodes)
        if (!awaited.count(node.get())) return *graph = nullptr, UNJOINED;
    return *graph = stream->recorded.release(), SUCCESS;
}

Status cuStreamIsCapturing(Handle handle, int* status) {
    const bool own = reinterpret_cast<uintptr_t>(handle) > 2;
    return *status = own && static_cast<Stream*>(handle)->recorded, SUCCESS;
}

Status cuStreamGetCaptureInfo(Handle handle, int* status, uint64_t* id, Handle* graph, Handle* const** nodes,
                              const void** edges, size_t* count) {
    auto* stream = static_cast<Stream*>(handle);
    *status = stream->recorded != nullptr;
    if (id) *id = 1;
    if (graph) *graph = stream->recorded.get();
    if (nodes) *nodes = reinterpret_cast<Handle* const*>(stream->next_after.data());
    stream->edges.assign(stream->next_after.size(), 0);
    if (edges) *edges = stream->edges.data();
    if (count) *count = stream->next_after.size();
    return SUCCESS;
}

Status cuStreamUpdateCaptureDependencies(Handle handle, Handle* nodes, const void*, size_t count, unsigned set) {
    auto* stream = static_cast<Stream*>(handle);
    if (!stream->recorded) return INVALID_VALUE;
    if (set) stream->next_after.clear();
    for (size_t i = 0; i < count; ++i) stream->next_after.push_back(static_cast<Node*>(nodes[i]));
    return SUCCESS;
}

Status cuGraphInstantiateWithFlags(Handle* executable, Handle handle, unsigned long long) {
    auto* made = new Graph;
    made->nodes = std::move(static_cast<Graph*>(handle)->nodes);
    return *executable = made, SUCCESS;
}

Status cuGraphDestroy(Handle graph) { return delete static_cast<Graph*>(graph), SUCCESS; }
Status cuGraphExecDestroy(Handle graph) { return delete static_cast<Graph*>(graph), device().broken; }

Status cuGraphLaunch(Handle graph, Handle stream) {
    return doing([&] { submit(stream, [=] { run(*static_cast<Graph*>(graph)); }); });
}

// -- for tests

// From now on so many launches and copies go well; then the device is lost.
void virtual_gpu_lose_after(uint64_t calls) { device().calls_left = calls; }

// -- where the functions are

Status cuGetProcAddress(const char* symbol, void** function, int, uint64_t, int* found);
Status cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t flags, int* found) {
    return cuGetProcAddress(symbol, function, version, flags, found);
}

#define F(name) {#name, reinterpret_cast<void*>(name)}
Status cuGetProcAddress(const char* symbol, void** function, int, uint64_t, int* found) {
    static const std::unordered_map<std::string, void*> functions = {
        F(cuInit), F(cuDriverGetVersion), F(cuDeviceGetCount), F(cuDeviceGet), F(cuDeviceGetName),
        F(cuDeviceTotalMem), F(cuDeviceGetUuid), F(cuDeviceComputeCapability), F(cuDeviceCanAccessPeer),
        F(cuDeviceGetAttribute), F(cuGetErrorName), F(cuGetErrorString), F(cuDevicePrimaryCtxRetain),
        F(cuDevicePrimaryCtxRelease), F(cuDevicePrimaryCtxReset), F(cuDevicePrimaryCtxGetState),
        F(cuCtxPushCurrent), F(cuCtxPopCurrent), F(cuCtxSetCurrent), F(cuCtxGetCurrent), F(cuCtxGetDevice),
        F(cuCtxSynchronize), F(cuCtxGetApiVersion), F(cuCtxGetStreamPriorityRange), F(cuMemAlloc), F(cuMemFree),
        F(cuMemGetInfo), F(cuMemGetAddressRange), F(cuMemHostAlloc), F(cuMemFreeHost), F(cuMemcpyHtoD),
        F(cuMemcpyDtoH), F(cuMemcpyDtoD), F(cuMemcpyHtoDAsync), F(cuMemcpyDtoHAsync), F(cuMemcpyDtoDAsync),
        F(cuMemsetD8), F(cuMemsetD8Async), F(cuPointerGetAttribute), F(cuLinkCreate), F(cuLinkAddData),
        F(cuLinkComplete), F(cuLinkDestroy), F(cuLibraryLoadData), F(cuLibraryUnload), F(cuLibraryGetKernel),
        F(cuLibraryGetGlobal), F(cuKernelGetFunction), F(cuKernelGetAttribute), F(cuKernelSetAttribute),
        F(cuKernelSetCacheConfig), F(cuFuncGetAttribute), F(cuLaunchKernel), F(cuStreamCreate),
        F(cuStreamCreateWithPriority), F(cuStreamDestroy), F(cuStreamSynchronize), F(cuStreamQuery),
        F(cuStreamWaitEvent), F(cuEventCreate), F(cuEventDestroy), F(cuEventRecord), F(cuEventQuery),
        F(cuEventSynchronize), F(cuEventElapsedTime), F(cuStreamBeginCapture), F(cuStreamEndCapture),
        F(cuStreamIsCapturing), F(cuStreamGetCaptureInfo), F(cuStreamUpdateCaptureDependencies),
        F(cuGraphInstantiateWithFlags), F(cuGraphDestroy), F(cuGraphExecDestroy), F(cuGraphLaunch), F(cuGetProcAddress),
    };
    const auto place = functions.find(symbol);
    *function = place == functions.end() ? nullptr : place->second;
    if (found) *found = *function ? 0 : 1;  // 1: no such symbol
    return *function ? SUCCESS : NOT_FOUND;
}
#undef F

}  // extern "C"
