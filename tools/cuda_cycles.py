"""What a step of a sweep takes by the machine code of its kernel, without a GPU.

``python tools/cuda_cycles.py ["lstm float32 64 units, there" ...]``, of the names that
``make cuda-resources`` shows; without any, those of the sweeps in single precision. It needs
``ptxas`` and ``nvdisasm``, of NVIDIA's toolkit.

ptxas writes into each instruction how many cycles to go on after it, which of six counters it
raises until its result is there, and for which it waits. So one warp alone can be followed from
instruction to instruction; what is assumed is how long an answer takes (`ANSWERS`), and that
what lies in device memory is found in the second cache. On an H200 two sweeps of SimpleRNN(32) took
77 and 56 us for 500 steps, and their code followed so 83 and 52. Warps beside each other are not
followed: of several, the reads of shared memory of all of them are counted, no more.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import cuda_resources

ARCHITECTURE = "90"
CLOCK = 1.98e9  # of an H200, in cycles a second
STEPS = 500
# Cycles until the result of an instruction is there, or what it reads may be overwritten.
ANSWERS = {
    "LDS": 29, "LDS.64": 30, "LDS.128": 33, "LDG": 300, "LDC": 30, "MUFU": 22, "SHFL": 25,
    "STS": 12, "STG": 12, "S2R": 30,
}  # fmt: skip
OTHERS = 20
WIDTHS = {"LDS.64": 64, "LDS.128": 128}  # bits that a thread reads; others 32 or less
BARRIER = 30
PASSES = 6  # of the loop: after some all are alike
LINE = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;?\s*/\* 0x([0-9a-f]{16}) \*/")
UPPER_HALF = re.compile(r"\s*/\* 0x([0-9a-f]{16}) \*/")
LABEL = re.compile(r"(\.L\w+):")
TARGET = re.compile(r"BRA .*`\((\.L\w+)\)")


class Instruction(NamedTuple):
    """An instruction, and what ptxas says of its turn."""

    text: str
    stall: int  # cycles until the next one
    raises: tuple  # counters, until its result is there, and until its arguments are read
    waits: tuple  # for these counters

    @property
    def operation(self):
        """Its name, without the condition before it."""
        return self.text.split()[1 if self.text.startswith("@") else 0]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kernels", nargs="*")
    names = parser.parse_args(arguments).kernels
    sweeps = {
        variant.name: variant for variant in cuda_resources.variants()
        if variant.name.endswith((", there", ", back"))
    }
    for name in names or [name for name in sweeps if "float32" in name]:
        if name not in sweeps:
            sys.exit(f"no sweep is called {name!r}: see make cuda-resources")
        instructions, cycles = measured(sweeps[name])
        micros = cycles * STEPS / CLOCK * 1e6
        print(f"{name:50s} {instructions:6.0f} instructions {cycles:6.0f} cycles a step "
              f"{micros:7.1f} us for {STEPS} steps", flush=True)


def measured(variant):
    """Instructions and cycles of a step of a sweep's kernel."""
    from fastrnn.cuda.kernels.sweep import PASS

    code, labels = read(disassembled(variant))
    begin, end = loop_of_passes(code, labels)
    cycles = followed(code, labels, begin, end, warps=variant.threads // 32)
    return (end - begin) / PASS, cycles / PASS


def disassembled(variant):
    """What nvdisasm prints of a kernel's machine code."""
    (ptx,) = [ptx for name, ptx in cuda_resources.compiled(variant) if name == ARCHITECTURE]
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        run(cuda_resources.find_ptxas() or "ptxas", f"-arch=sm_{ARCHITECTURE}", source, "-o", made)
        return run("nvdisasm", "-hex", made)


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not found: it is part of NVIDIA's CUDA toolkit.")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)


def read(text):
    """The instructions in what nvdisasm prints, and where labels point."""
    code, labels, text_of = [], {}, None
    for line in text.splitlines():
        if found := LABEL.match(line):
            labels[found[1]] = len(code)
        elif found := LINE.match(line):
            text_of = found[2]
        elif text_of and (found := UPPER_HALF.match(line)):
            code.append(decoded(text_of, int(found[1], 16)))
            text_of = None
    return code, labels


def decoded(text, upper):
    """An instruction by its upper 64 bits: from bit 41 on 4 for the stall, 1 that does not matter
    here, 3 and 3 for counters to raise (7: none), 6 for counters to wait for.

    >>> decoded("LDS.128 R4, [R20]", (0b000001_111_010_0_0010) << 41)
    Instruction(text='LDS.128 R4, [R20]', stall=2, raises=(2, None), waits=(0,))
    """
    bits = upper >> 41
    raises = tuple(None if n == 7 else n for n in (bits >> 5 & 7, bits >> 8 & 7))
    return Instruction(text, bits & 15, raises, tuple(i for i in range(6) if bits >> 11 + i & 1))


def loop_of_passes(code, labels):
    """From where to where the first loop goes that multiplies and shows what it found."""
    for place, instruction in enumerate(code):
        begin = labels.get((TARGET.search(instruction.text) or [None, None])[1], len(code))
        inside = {part.operation.partition(".")[0] for part in code[begin : place + 1]}
        if {"FFMA", "STS"} <= inside or {"DFMA", "STS"} <= inside:
            return begin, place + 1
    sys.exit("there is no loop of steps in this kernel")


def followed(code, labels, begin, end, warps):
    """Cycles of a pass through a loop, when it has been through some."""
    now = reads = 0  # until when shared memory is busy
    counters = [[] for _ in range(6)]
    for _ in range(PASSES):
        start, place = now, begin
        while place < end:
            instruction = code[place]
            for counter in instruction.waits:
                now = max([now, *counters[counter]])
                counters[counter].clear()
            name = instruction.operation.partition(".")[0]
            answer = ANSWERS.get(instruction.operation, ANSWERS.get(name, OTHERS))
            if name in ("LDS", "STS", "SHFL"):
                width = WIDTHS.get(instruction.operation, 32)
                reads = max(reads, now) + warps * width // 32
                answer += max(reads - now - warps * width // 32, 0)
            for counter, after in zip(instruction.raises, (answer, ANSWERS["STS"]), strict=True):
                if counter is not None:
                    counters[counter].append(now + after)
            now += max(instruction.stall, 1) + BARRIER * (name == "BAR")
            place = next_place(instruction, labels, place)
    return now - start


def next_place(instruction, labels, place):
    """Forward branches are taken if they have no condition; backward ones are not."""
    found = TARGET.search(instruction.text)
    if found and not instruction.text.startswith("@") and labels.get(found[1], 0) > place:
        return labels[found[1]]
    return place + 1


if __name__ == "__main__":
    main()
