// What each instruction of PTX does with the registers of a warp.

#pragma once

#include "machine.h"

struct Operation {
    Action act = nullptr;
    Flow flow = Flow::next;
    std::vector<Storage> out, in;  // of registers and numbers; of loads and stores without the address
};

// The operation of an opcode, as "fma.rn.f32"; Fault if there is none.
const Operation& operation(const std::string& opcode);

// The load or store of an opcode, as "ld.global.v4.f32", for registers of this storage.
Action transfer(const std::string& opcode, Storage registers);
