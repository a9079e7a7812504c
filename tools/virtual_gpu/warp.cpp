#include "warp.h"

#include <algorithm>
#include <bit>

namespace {

constexpr uint8_t UNDEFINED = 0xff;  // all bits set are NaN, or -1
constexpr int TURN = 64;             // instructions that a warp goes on for, at most, where races are looked for

std::string place_of(const unsigned* at) {
    return "(" + std::to_string(at[0]) + ", " + std::to_string(at[1]) + ", " + std::to_string(at[2]) + ")";
}

}  // namespace

Warp::Warp(Block& block, int number, Mask lanes, const std::vector<uint8_t>& registers)
    : block_(block), number_(number), alive_(lanes), groups_{{0, lanes}}, registers_(registers) {}

bool Warp::ready() const {
    return std::any_of(groups_.begin(), groups_.end(), [](const Group& g) { return g.state == Group::ready; });
}

bool Warp::all_at_block_barrier() const {
    return std::all_of(groups_.begin(), groups_.end(),
                       [](const Group& g) { return g.state == Group::at_block_barrier; });
}

void Warp::pass_block_barrier() {
    for (Group& group : groups_) group.state = Group::ready, ++group.pc;
    ++barriers_;
    merge();
}

// The group that is behind all others goes on: so those that parted meet again.
void Warp::run(int instructions) {
    while (instructions > 0) {
        size_t which = groups_.size();
        for (size_t i = 0; i < groups_.size(); ++i)
            if (groups_[i].state == Group::ready && (which == groups_.size() || groups_[i].pc < groups_[which].pc))
                which = i;
        if (which == groups_.size()) return;
        step_group(which, instructions);
        merge();
    }
}

void Warp::merge() {
    if (groups_.size() < 2) return;
    std::sort(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) {
        return std::pair(a.pc, a.state) < std::pair(b.pc, b.state);
    });
    size_t kept = 0;
    for (size_t i = 1; i < groups_.size(); ++i) {
        if (groups_[i].pc == groups_[kept].pc && groups_[i].state == groups_[kept].state)
            groups_[kept].lanes |= groups_[i].lanes;
        else
            groups_[++kept] = groups_[i];
    }
    groups_.resize(kept + 1);
}

// Whether all lanes that an instruction names have come to it; those that have ended are not waited for.
bool Warp::all_have_come(const Instruction& instruction, int32_t pc, Mask& together) {
    const int named = instruction.flow == Flow::shuffle ? 3 : 0;
    for (const Group& group : groups_)
        if (group.pc == pc && group.state == Group::at_warp_barrier) together |= group.lanes;
    const Mask awaited = at<Mask>(instruction.in[named])[std::countr_zero(together)];
    return (awaited & alive_ & ~together) == 0;
}

// A group goes on until it parts, waits, ends, or comes to where another one is.
void Warp::step_group(size_t which, int& instructions) {
    int32_t stop = INT32_MAX;
    for (size_t i = 0; i < groups_.size(); ++i)
        if (i != which && groups_[i].state == Group::ready) stop = std::min(stop, groups_[i].pc);
    Group group = groups_[which];
    const std::vector<Instruction>& code = block_.program.code;
    while (instructions > 0 && group.pc < stop) {
        const Instruction& instruction = code[group.pc];
        pc_ = group.pc, --instructions;
        Mask active = group.lanes;
        if (instruction.guard >= 0)
            active &= instruction.guard_negated ? ~predicate(instruction.guard) : predicate(instruction.guard);
        switch (instruction.flow) {
        case Flow::next:
            if (active) instruction.act(*this, instruction, active);
            ++group.pc;
            continue;
        case Flow::branch:
            if (active == group.lanes) {
                group.pc = instruction.target;
                if (group.pc > pc_) continue;
                groups_[which] = group;
                return;  // back: whoever else is there goes first
            }
            ++group.pc;
            if (!active) continue;
            group.lanes &= ~active;
            groups_[which] = group;
            groups_.push_back({instruction.target, active});
            return;
        case Flow::leave:
            alive_ &= ~active;
            group.lanes &= ~active, ++group.pc;
            groups_[which] = group;
            if (!group.lanes) groups_.erase(groups_.begin() + which);
            for (Group& other : groups_)  // who waited for those that have ended looks again
                if (other.state == Group::at_warp_barrier) other.state = Group::ready;
            return;
        case Flow::back: {  // of a function, to where each lane came from
            const auto* from = at<uint32_t>(instruction.in[0]);
            groups_.erase(groups_.begin() + which);
            for (int lane = 0; lane < LANES; ++lane)
                if (group.lanes >> lane & 1) groups_.push_back({int32_t(from[lane]), Mask(1) << lane});
            return;
        }
        case Flow::block_barrier:
            if (active != group.lanes) fail("a barrier under a condition", std::countr_zero(active));
            group.state = Group::at_block_barrier;
            groups_[which] = group;
            return;
        case Flow::warp_barrier:
        case Flow::shuffle:
            if (active != group.lanes) fail("a barrier under a condition", std::countr_zero(active));
            Mask met = active;
            if (!all_have_come(instruction, group.pc, met)) {
                group.state = Group::at_warp_barrier;
                groups_[which] = group;
                return;
            }
            instruction.act(*this, instruction, met);
            if (instruction.flow == Flow::warp_barrier) {
                if (block_.looks_for_races && met != alive_)
                    fail("a barrier of a part of a warp, whose races are not known here", std::countr_zero(met));
                ++barriers_;
            }
            const int32_t pc = group.pc;
            group.lanes = met, ++group.pc;
            groups_[which] = group;
            std::erase_if(groups_, [&](const Group& g) { return g.pc == pc && g.state == Group::at_warp_barrier; });
            return;
        }
    }
    groups_[which] = group;
}

void Warp::fail(const std::string& why, int lane) const {
    const Instruction& instruction = block_.program.code[pc_];
    throw Fault(why + ", thread " + std::to_string(number_ * LANES + lane) + ", line " +
                std::to_string(instruction.line + 1) + " of its PTX: " + (*block_.program.lines)[instruction.line]);
}

uint8_t* Warp::global(uint64_t address, int size, int lane, Access access, const void* bytes) {
    const auto within = [&](const Memory::Allocation* allocation) {
        return allocation && address >= allocation->begin && address + size <= allocation->end;
    };
    if (!within(block_.last)) block_.last = block_.memory.around(address);
    if (!within(block_.last))
        fail(std::to_string(size) + " bytes of the device's memory that nobody has allocated", lane);
    if (address % size) fail("an address that is no multiple of " + std::to_string(size), lane);
    auto* place = reinterpret_cast<uint8_t*>(address);
    if (block_.looks_for_races) {
        auto& [begin, end, watch] = *block_.last;
        look_for_races(watch.at(address - begin, size, end - begin), size, lane, access,
                       bytes && std::memcmp(place, bytes, size));
    }
    return place;
}

uint8_t* Warp::shared(uint64_t address, int size, int lane, Access access, const void* bytes) {
    if (address + size > block_.shared.size() || address + size < address)
        fail(std::to_string(size) + " bytes of shared memory at " + std::to_string(address) + ", where there are " +
                 std::to_string(block_.shared.size()), lane);
    if (address % size) fail("an address that is no multiple of " + std::to_string(size), lane);
    uint8_t* place = block_.shared.data() + address;
    if (block_.looks_for_races)
        look_for_races(block_.watch.at(address, size, block_.shared.size()), size, lane, access,
                       bytes && std::memcmp(place, bytes, size));
    return place;
}

void Warp::look_for_races(Touched* touched, int size, int lane, Access access, bool changes) {
    const int places = size < 4 ? size : size / 4;
    for (int place = 0; place < places; ++place) look_for_race(touched[place], lane, access, changes);
}

void Warp::look_for_race(Touched& touched, int lane, Access access, bool changes) {
    const Mask me = Mask(1) << lane, my_warp = Mask(1) << number_;
    const int thread = number_ * LANES + lane;
    const bool reads = access == Access::read, adds = access == Access::add;
    if (touched.write_run >= block_.first_run && (reads || changes || adds) && !(adds && touched.added)) {
        if (touched.write_run != block_.run) fail("a race with another block, which wrote there", lane);
        if (touched.writer != thread && touched.write_block == block_.barriers &&
            (touched.writer / LANES != number_ || touched.write_warp == barriers_))
            fail("a race with thread " + std::to_string(touched.writer) + ", which wrote there", lane);
    }
    const bool read_here = touched.read_run == block_.run && touched.read_block == block_.barriers;
    const bool read_by_warp = read_here && touched.read_warp == barriers_ && (touched.reader_warps & my_warp);
    if (reads) {
        touched.read_by_others = touched.read_run >= block_.first_run &&
                                 (touched.read_by_others || touched.read_run != block_.run);
        if (!read_here) touched.reader_warps = 0;
        touched.reader_lanes = read_by_warp ? touched.reader_lanes | me : me;
        touched.reader_warps |= my_warp;
        touched.read_run = block_.run, touched.read_block = block_.barriers, touched.read_warp = barriers_;
        return;
    }
    if (changes || adds) {
        if (touched.read_run >= block_.first_run && (touched.read_by_others || touched.read_run != block_.run))
            fail("a race with another block, which read there", lane);
        if (read_here && (touched.reader_warps & ~my_warp)) fail("a race with another warp, which read there", lane);
        if (read_by_warp && (touched.reader_lanes & ~me)) fail("a race with a thread that read there", lane);
    }
    touched.writer = thread, touched.added = adds;
    touched.write_run = block_.run, touched.write_block = block_.barriers, touched.write_warp = barriers_;
}

namespace {

void fill_special(std::vector<uint8_t>& registers, const Program& program, const Launch& launch, const unsigned* at,
                  unsigned first) {
    for (const auto& [place, special] : program.specials) {
        auto* values = reinterpret_cast<uint32_t*>(registers.data() + place);
        for (unsigned lane = 0; lane < LANES; ++lane) {
            const unsigned thread = first + lane, x = launch.block[0], y = launch.block[1];
            const unsigned of[] = {thread % x, thread / x % y, thread / x / y, at[0], at[1], at[2], x, y,
                                   launch.block[2], launch.grid[0], launch.grid[1], launch.grid[2], lane,
                                   unsigned(launch.shared)};
            values[lane] = of[int(special)];
        }
    }
}

std::vector<uint8_t> first_registers(const Program& program) {
    std::vector<uint8_t> registers(program.register_bytes, UNDEFINED);
    for (const Constant& constant : program.constants) {
        uint8_t* place = registers.data() + constant.place;
        if (constant.storage == Storage::predicate) {
            const Mask mask = constant.bits ? ALL_LANES : 0;
            std::memcpy(place, &mask, sizeof mask);
        }
        else
            for (int lane = 0; lane < LANES; ++lane) {
                const size_t size = constant.storage == Storage::pair ? 8 : 4;
                std::memcpy(place + lane * size, &constant.bits, size);
            }
    }
    return registers;
}

void run_block(const Launch& launch, Memory& memory, const Checks& checks, std::mt19937& random,
               std::vector<uint8_t>& registers, const unsigned* at, uint64_t first_run, uint64_t run) {
    const Program& program = *launch.program;
    const size_t shared = program.shared_bytes + launch.shared;
    Block block{program, memory, launch.parameters.data(), std::vector<uint8_t>(shared, UNDEFINED),
                Watch(), checks.races, first_run, run};
    const unsigned threads = launch.block[0] * launch.block[1] * launch.block[2];
    std::vector<std::unique_ptr<Warp>> warps;
    for (unsigned first = 0; first < threads; first += LANES) {
        const Mask lanes = threads - first >= LANES ? ALL_LANES : (Mask(1) << (threads - first)) - 1;
        fill_special(registers, program, launch, at, first);
        warps.push_back(std::make_unique<Warp>(block, int(first / LANES), lanes, registers));
    }
    std::vector<Warp*> ready;
    while (!warps.empty()) {
        ready.clear();
        for (const auto& warp : warps)
            if (warp->ready()) ready.push_back(warp.get());
        if (ready.empty()) {
            for (const auto& warp : warps)
                if (!warp->all_at_block_barrier()) throw Fault("threads that wait for each other for ever");
            ++block.barriers;
            for (const auto& warp : warps) warp->pass_block_barrier();
            continue;
        }
        ready[random() % ready.size()]->run(checks.races ? 1 + int(random() % TURN) : INT32_MAX);
        std::erase_if(warps, [](const auto& warp) { return warp->ended(); });
    }
}

}  // namespace

void run(const Launch& launch, Memory& memory, Checks& checks, std::mt19937& random) {
    const size_t blocks = size_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
    std::vector<size_t> order(blocks);
    for (size_t i = 0; i < blocks; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    std::vector<uint8_t> registers = first_registers(*launch.program);
    const uint64_t first_run = checks.next_run;
    checks.next_run += blocks;  // now: a number that was used is not used again, whatever happens
    for (size_t number : order) {
        const unsigned at[] = {unsigned(number % launch.grid[0]), unsigned(number / launch.grid[0] % launch.grid[1]),
                               unsigned(number / launch.grid[0] / launch.grid[1])};
        try {
            run_block(launch, memory, checks, random, registers, at, first_run, first_run + number);
        } catch (const Fault& fault) {
            throw Fault(launch.program->name + ", block " + place_of(at) + ": " + fault.what());
        }
    }
}
