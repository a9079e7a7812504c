// A GPU that there is not: what PTX says, done on the CPU, 32 threads of a warp at a time.
//
// Words as in NVIDIA's "Parallel Thread Execution ISA", https://docs.nvidia.com/cuda/parallel-thread-execution/.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int LANES = 32;
using Mask = uint32_t;  // a bit a lane
constexpr Mask ALL_LANES = 0xffffffff;

struct Fault : std::runtime_error {
    using runtime_error::runtime_error;
};

// -- programs -----------------------------------------------------------------------------------

// How a register is kept: predicates as a mask, all else as 32 numbers of 32 or 64 bits.
enum class Storage { predicate, word, pair };

enum class Flow { next, branch, leave, back, block_barrier, warp_barrier, shuffle };

class Warp;
struct Instruction;
using Action = void (*)(Warp&, const Instruction&, Mask active);

struct Instruction {
    Action act = nullptr;
    Flow flow = Flow::next;
    int32_t out[4] = {}, in[5] = {};  // where operands lie in a warp's registers, in bytes
    int64_t offset = 0;               // what is added to an address
    int32_t target = 0;               // of a branch
    int32_t guard = -1;               // the predicate that says which lanes take part
    bool guard_negated = false;
    int32_t line = 0;  // of the PTX
};

struct Constant {
    int32_t place;
    Storage storage;
    uint64_t bits;
};

// What a kernel finds in a register when it begins.
enum class Special { thread_x, thread_y, thread_z, block_x, block_y, block_z, threads_x, threads_y, threads_z,
                     blocks_x, blocks_y, blocks_z, lane, dynamic_shared };

struct Program {  // a kernel, with the functions that it calls
    std::string name;
    std::vector<Instruction> code;
    std::vector<Constant> constants;
    std::vector<std::pair<int32_t, Special>> specials;
    std::vector<std::pair<size_t, size_t>> parameters;  // of each: its place, its size
    size_t parameter_bytes = 0;
    size_t register_bytes = 0;
    size_t shared_bytes = 0;  // without what a launch adds
    unsigned most_threads = 1024;
    std::shared_ptr<const std::vector<std::string>> lines;
};

std::map<std::string, std::shared_ptr<Program>> parse(const std::string& ptx);

// -- memory -------------------------------------------------------------------------------------

// Who touched a place last: four bytes, or one. Two threads may touch the same ones, and one of them write, only with a barrier
// in between: of the block, or of the warp if it is the same one. Both may write the same, or add to them.
struct Touched {
    uint64_t write_run = 0, read_run = 0;  // which block of which launch; 0: none
    uint32_t write_block = 0, write_warp = 0;  // how many barriers there had been
    uint32_t read_block = 0, read_warp = 0;
    int32_t writer = 0;
    Mask reader_warps = 0, reader_lanes = 0;  // those since the last barrier; lanes of the last warp
    bool read_by_others = false;              // by more than one block of the launch
    bool added = false;                       // what was written was a sum
};

// Who touched each place of a piece of memory. Numbers of less than four bytes lie side by side, and each has a
// place of its own; whoever takes the same memory for these and for larger ones is not noticed.
class Watch {
  public:
    // The first place of a number that lies so many bytes behind the beginning of ``length`` bytes.
    Touched* at(size_t offset, int size, size_t length) {
        return size < 4 ? of(bytes_, length) + offset : of(words_, (length + 3) / 4) + offset / 4;
    }

  private:
    struct Freed {
        void operator()(Touched* touched) const { std::free(touched); }
    };
    using Places = std::unique_ptr<Touched[], Freed>;

    static Touched* of(Places& places, size_t count) {
        // Zeros, for which the system gives no memory before it is used.
        if (!places) places.reset(static_cast<Touched*>(std::calloc(count, sizeof(Touched))));
        if (!places) throw std::bad_alloc();
        return places.get();
    }

    Places words_, bytes_;
};

// The device's: what has been allocated, so that nothing else is touched.
class Memory {
  public:
    struct Allocation {
        uint64_t begin = 0, end = 0;
        Watch watch;
    };

    explicit Memory(size_t total) : total_(total) {}
    uint64_t allocate(size_t size);  // 0: there is no more
    bool release(uint64_t begin);
    Allocation* around(uint64_t address);  // the one that holds an address
    size_t total() const { return total_; }
    size_t left() const { return total_ - used_; }

  private:
    size_t total_, used_ = 0;
    std::map<uint64_t, Allocation> allocations_;
};

// -- running ------------------------------------------------------------------------------------

struct Launch {
    std::shared_ptr<Program> program;
    unsigned grid[3], block[3];
    size_t shared = 0;  // what the launch adds
    std::vector<uint8_t> parameters;
};

struct Checks {
    bool races = true;      // between threads
    uint64_t next_run = 1;  // a number for each block of each launch
};

// Does all that a launch asks for. Blocks and warps take turns in an order that `random` draws.
void run(const Launch& launch, Memory& memory, Checks& checks, std::mt19937& random);
