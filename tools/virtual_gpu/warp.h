// The threads of a block, 32 of them at a time, and what they share.

#pragma once

#include "machine.h"

struct Block {
    const Program& program;
    Memory& memory;
    const uint8_t* parameters;
    std::vector<uint8_t> shared;
    Watch watch;                          // of shared memory
    bool looks_for_races;
    uint64_t first_run, run;              // of the launch, and this one's
    uint32_t barriers = 1;
    Memory::Allocation* last = nullptr;   // that was touched
};

enum class Access { read, write, add };

class Warp {
  public:
    // Threads that go on together; where they parted, several groups.
    struct Group {
        int32_t pc;
        Mask lanes;
        enum { ready, at_block_barrier, at_warp_barrier } state = ready;
    };

    Warp(Block& block, int number, Mask lanes, const std::vector<uint8_t>& registers);

    // Goes on for so many instructions, or until nobody can.
    void run(int instructions);
    bool ready() const;
    bool ended() const { return groups_.empty(); }
    bool all_at_block_barrier() const;
    void pass_block_barrier();

    template <class T> T* at(int32_t place) { return reinterpret_cast<T*>(registers_.data() + place); }
    Mask& predicate(int32_t place) { return *at<Mask>(place); }

    // Memory at an address, for one lane: to read from, or as it was before so many bytes were written to it.
    uint8_t* shared(uint64_t address, int size, int lane, Access access, const void* bytes = nullptr);
    uint8_t* global(uint64_t address, int size, int lane, Access access, const void* bytes = nullptr);
    const uint8_t* parameters() const { return block_.parameters; }

  private:
    void step_group(size_t which, int& instructions);
    void merge();
    bool all_have_come(const Instruction& instruction, int32_t pc, Mask& together);
    [[noreturn]] void fail(const std::string& why, int lane) const;
    void look_for_races(Touched* touched, int size, int lane, Access access, bool changes);
    void look_for_race(Touched& touched, int lane, Access access, bool changes);

    Block& block_;
    int number_;
    Mask alive_;
    uint32_t barriers_ = 1;
    int32_t pc_ = 0;  // of the instruction that is under way
    std::vector<Group> groups_;
    std::vector<uint8_t> registers_;
};
