"""The virtual GPU, on which compiled kernels are tested, tested itself: what it computes, and sees.

``make test-virtual-gpu`` builds it.
"""

import ctypes
from pathlib import Path

import numpy as np
import pytest

LIBRARY = Path(__file__).parents[1] / "build/virtual_gpu/libcuda.so.1"
pytestmark = pytest.mark.skipif(
    not LIBRARY.is_file(), reason="the virtual GPU is not built (make test-virtual-gpu)"
)

INVALID_VALUE, OUT_OF_MEMORY, INVALID_IMAGE, ILLEGAL_ADDRESS, UNJOINED, UNKNOWN = (
    1, 2, 200, 700, 904, 999
)  # fmt: skip
ALL = 0xFFFFFFFF


class GPU:
    """The functions of the driver, with the device's memory and kernels in words of Python."""

    def __init__(self):
        self.driver = ctypes.CDLL(str(LIBRARY))
        self.driver.cuInit(0)

    def mend(self):
        self.driver.virtual_gpu_lose_after(ctypes.c_uint64(2**64 - 1))
        self.driver.cuDevicePrimaryCtxReset(0)

    def array(self, host):
        """Where a copy of an array lies on the device."""
        host, place = np.ascontiguousarray(host), ctypes.c_uint64()
        assert self.driver.cuMemAlloc(ctypes.byref(place), ctypes.c_size_t(host.nbytes)) == 0
        assert self.driver.cuMemcpyHtoD(place, host.ctypes.data_as(ctypes.c_void_p),
                                        ctypes.c_size_t(host.nbytes)) == 0  # fmt: skip
        return place

    def fetch(self, place, like):
        host = np.empty_like(like)
        assert self.driver.cuMemcpyDtoH(host.ctypes.data_as(ctypes.c_void_p), place,
                                        ctypes.c_size_t(host.nbytes)) == 0  # fmt: skip
        return host

    def load(self, body, registers="", pointers=3, shared=0):
        """(status, kernel) of one whose registers %rd1, %rd2, ... hold its arguments; %r0 is the
        number of the thread, %rd0 four times it."""
        parameters = ", ".join(f".param .u64 p{i}" for i in range(1, pointers + 1))
        arguments = "\n".join(f"ld.param.u64 %rd{i}, [p{i}];" for i in range(1, pointers + 1))
        ptx = f"""
            .version 9.0
            .target sm_90
            .address_size 64
            {f".visible .shared .align 16 .b8 room[{shared}];" if shared else ""}
            .visible .entry k({parameters})
            .maxntid 256, 1, 1
            {{
                .reg .pred %p<4>;
                .reg .b32 %r<20>;
                .reg .f32 %f<20>;
                .reg .f64 %fd<9>;
                .reg .b64 %rd<20>;
                {registers}
                {arguments}
                mov.u32 %r0, %tid.x;
                mul.wide.u32 %rd0, %r0, 4;
                {body}
                ret;
            }}
        """
        library, kernel = ctypes.c_void_p(), ctypes.c_void_p()
        status = self.driver.cuLibraryLoadData(
            ctypes.byref(library), ptx.encode(), None, None, 0, None, None, 0
        )
        if status == 0:
            self.driver.cuLibraryGetKernel(ctypes.byref(kernel), library, b"k")
        return status, kernel

    def launch(self, kernel, *arguments, blocks=1, threads=64, stream=None):
        """The status of a launch."""
        places = (ctypes.c_void_p * len(arguments))(
            *(ctypes.addressof(argument) for argument in arguments)
        )
        sizes = blocks, 1, 1, threads, 1, 1
        return self.driver.cuLaunchKernel(kernel, *sizes, 0, stream, places, None)

    def run(self, body, *arguments, registers="", shared=0, blocks=1, threads=64):
        """The status of a kernel that is loaded and launched."""
        status, kernel = self.load(body, registers, len(arguments), shared)
        return status or self.launch(kernel, *arguments, blocks=blocks, threads=threads)


@pytest.fixture
def gpu():
    found = GPU()
    yield found
    found.mend()


def numbers(dtype, seed):
    """64 numbers of a type, with those at its ends."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        found = (random.normal(size=64) * 10.0 ** random.integers(-3, 4, 64)).astype(dtype)
        found[:5] = 0, -0.0, np.inf, -np.inf, np.nan
        return random.permutation(found)
    ends = np.iinfo(dtype)
    found = random.integers(ends.min, ends.max, 64, dtype=dtype, endpoint=True)
    found[:4] = 0, 1, ends.min, ends.max
    return random.permutation(found)


def fused(a, b, c):
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def high(a, b):
    return np.array([int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)], a.dtype)


def whole(dtype, of_nan):
    """Conversion to whole numbers towards zero, as far as the type goes; what NaN becomes."""
    ends = np.iinfo(dtype)

    def converted(a):
        return np.array([
            of_nan if np.isnan(x) else ends.min if x <= ends.min else
            ends.max if x >= ends.max else int(x) for x in a.tolist()
        ], dtype)  # fmt: skip

    return converted


INSTRUCTIONS = {
    "cvt.rzi.s32.f32": ("if", whole("i", 0)), "cvt.rzi.u32.f32": ("If", whole("I", 0)),
    "cvt.rzi.s64.f32": ("lf", whole("l", -(1 << 63))),
    "cvt.rzi.s64.f64": ("ld", whole("l", -(1 << 63))),
    "cvt.rzi.u64.f64": ("Ld", whole("L", 1 << 63)),
    "cvt.rzi.s32.f64": ("id", whole("i", -(1 << 31))),
    "add.f32": ("fff", np.add), "sub.f64": ("ddd", np.subtract), "mul.f32": ("fff", np.multiply),
    "fma.rn.f32": ("ffff", fused), "div.rn.f64": ("ddd", np.divide), "min.f32": ("fff", np.fmin),
    "max.f64": ("ddd", np.fmax), "neg.f32": ("ff", np.negative), "abs.f64": ("dd", np.abs),
    "sqrt.rn.f32": ("ff", np.sqrt), "copysign.f32": ("fff", lambda a, b: np.copysign(b, a)),
    "ex2.approx.f32": ("ff", np.exp2), "cvt.rni.f32.f32": ("ff", np.rint),
    "cvt.rmi.f32.f32": ("ff", np.floor), "cvt.f64.f32": ("df", np.float64),
    "cvt.rn.f32.f64": ("fd", np.float32), "cvt.rn.f32.s64": ("fl", np.float32),
    "cvt.sat.f32.f32": ("ff", lambda a: np.where(np.isnan(a), 0, np.clip(a, 0, 1))),
    "add.s64": ("lll", np.add), "sub.s32": ("iii", np.subtract), "mul.lo.s64": ("lll", np.multiply),
    "mul.hi.u64": ("LLL", high), "mul.wide.s32": ("lii", lambda a, b: a.astype(int) * b),
    "mad.lo.s32": ("iiii", lambda a, b, c: a * b + c), "min.s32": ("iii", np.minimum),
    "max.s64": ("lll", np.maximum), "and.b32": ("iii", np.bitwise_and),
    "xor.b64": ("lll", np.bitwise_xor), "not.b64": ("ll", np.invert),
    "neg.s32": ("ii", np.negative), "cvt.s64.s32": ("li", np.int64),
    "cvt.u64.u32": ("LI", np.uint64),
    "cvt.u32.u64": ("IL", lambda a: a.astype(np.uint32)),
    "shr.s64 5": ("ll", lambda a: a >> 5), "shr.u64 63": ("LL", lambda a: a >> np.uint64(63)),
    "shl.b32 31": ("ii", lambda a: a << 31), "shl.b64 64": ("ll", np.zeros_like),
}  # fmt: skip
REGISTERS = {"f": "%f", "d": "%fd", "i": "%r", "I": "%r", "l": "%rd", "L": "%rd"}
MOVED = {"f": "f32", "d": "f64", "i": "u32", "I": "u32", "l": "u64", "L": "u64"}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_what_an_instruction_computes(gpu, name):
    types, wanted = INSTRUCTIONS[name]
    opcode, *number = name.split()
    inputs = [numbers(kind, seed) for seed, kind in enumerate(types[1:])]
    with np.errstate(all="ignore"):
        result = wanted(*inputs).astype(types[0])
    body, found = [], [f"{REGISTERS[types[0]]}8"]
    for i, kind in enumerate(types[1:]):
        size = np.dtype(kind).itemsize
        register = f"{REGISTERS[kind]}{5 + i}"
        body += [f"mul.wide.u32 %rd15, %r0, {size};", f"add.s64 %rd16, %rd{2 + i}, %rd15;",
                 f"ld.global.{MOVED[kind]} {register}, [%rd16];"]
        found.append(register)
    body += [f"{opcode} {', '.join(found + number)};",
             f"mul.wide.u32 %rd15, %r0, {result.itemsize};", "add.s64 %rd16, %rd1, %rd15;",
             f"st.global.{MOVED[types[0]]} [%rd16], {found[0]};"]
    target = gpu.array(np.zeros_like(result))
    assert gpu.run("\n".join(body), target, *map(gpu.array, inputs)) == 0
    tolerance = 2.0**-22 if "approx" in opcode else 0
    np.testing.assert_allclose(gpu.fetch(target, result), result, rtol=tolerance)


@pytest.mark.parametrize(
    "opcode, wanted",
    [("lt", np.less), ("ltu", lambda a, b: ~(a >= b)), ("ne", lambda a, b: (a < b) | (a > b)),
     ("neu", np.not_equal), ("ge", np.greater_equal),
     ("nan", lambda a, b: np.isnan(a) | np.isnan(b))],
)  # fmt: skip
def test_comparisons_with_nan(gpu, opcode, wanted):
    a, b = numbers("f", 1), np.roll(numbers("f", 1), 1)
    a[1::4] = b[1::4]
    target = gpu.array(np.zeros(64, "i"))
    body = f"""
        add.s64 %rd5, %rd2, %rd0;  add.s64 %rd6, %rd3, %rd0;  add.s64 %rd7, %rd1, %rd0;
        ld.global.f32 %f1, [%rd5];  ld.global.f32 %f2, [%rd6];
        setp.{opcode}.f32 %p1, %f1, %f2;  selp.b32 %r1, 1, 0, %p1;  st.global.u32 [%rd7], %r1;
    """
    assert gpu.run(body, target, gpu.array(a), gpu.array(b)) == 0
    np.testing.assert_array_equal(gpu.fetch(target, np.zeros(64, "i")), wanted(a, b))


def test_threads_that_part_meet_again(gpu):
    """Each thread goes round as often as its number says; those with odd ones skip an addition."""
    body = """
        add.s64 %rd2, %rd1, %rd0;
        mov.u32 %r1, 0;  mov.u32 %r2, 0;  and.b32 %r3, %r0, 1;  setp.ne.s32 %p2, %r3, 0;
        ROUND:
        setp.ge.s32 %p1, %r1, %r0;
        @%p1 bra DONE;
        @%p2 bra ODD;
        add.s32 %r2, %r2, 3;
        ODD:
        add.s32 %r2, %r2, 1;  add.s32 %r1, %r1, 1;
        bra.uni ROUND;
        DONE:
        bar.warp.sync -1;
        shfl.sync.bfly.b32 %r4, %r2, 1, 31, -1;
        st.global.u32 [%rd2], %r4;
    """
    target, thread = gpu.array(np.zeros(64, "i")), np.arange(64)
    assert gpu.run(body, target) == 0
    wanted = np.where(thread % 2, 1, 4) * thread
    np.testing.assert_array_equal(gpu.fetch(target, np.zeros(64, "i")), wanted[thread ^ 1])


# Every thread writes its number to shared memory and reads that of another one.
EXCHANGE = """
    mov.u64 %rd3, room;  add.s64 %rd4, %rd3, %rd0;
    st.shared.u32 [%rd4], %r0;
    {barrier}
    xor.b32 %r1, %r0, {distance};  mul.wide.u32 %rd5, %r1, 4;  add.s64 %rd6, %rd3, %rd5;
    ld.shared.u32 %r2, [%rd6];
    add.s64 %rd7, %rd1, %rd0;  st.global.u32 [%rd7], %r2;
"""


@pytest.mark.parametrize(
    "barrier, distance, races",
    [("", 1, True), ("", 32, True), ("bar.warp.sync -1;", 1, False),
     ("bar.warp.sync -1;", 32, True), ("bar.sync 0;", 1, False), ("bar.sync 0;", 32, False)],
)  # fmt: skip
def test_races_in_shared_memory(gpu, capfd, barrier, distance, races):
    target, body = gpu.array(np.zeros(64, "i")), EXCHANGE.format(barrier=barrier, distance=distance)
    assert gpu.run(body, target, shared=256) == (ILLEGAL_ADDRESS if races else 0)
    assert ("a race with" in capfd.readouterr().err) == races
    if races:  # as on a GPU, nothing goes on after it
        assert gpu.driver.cuMemcpyDtoH(None, target, ctypes.c_size_t(0)) == ILLEGAL_ADDRESS
    else:
        wanted = np.arange(64) ^ distance
        np.testing.assert_array_equal(gpu.fetch(target, np.zeros(64, "i")), wanted)


@pytest.mark.parametrize(
    "body, races",
    [("st.global.u32 [%rd1], %r0;", True), ("st.global.u32 [%rd1], 7;", False),
     ("atom.global.add.u32 %r2, [%rd1], %r0;", False),
     ("ld.global.u32 %r2, [%rd1]; atom.global.add.u32 %r2, [%rd1], 1;", True)],
)  # fmt: skip
def test_races_in_the_devices_memory(gpu, capfd, body, races):
    target = gpu.array(np.zeros(1, "i"))
    # Threads of two blocks, one in each.
    assert gpu.run(f"mov.u32 %r0, %ctaid.x; {body}", target, blocks=2, threads=1) == (
        ILLEGAL_ADDRESS if races else 0
    )
    assert ("a race with another block" in capfd.readouterr().err) == races


# Numbers of one byte: each thread its own, or all the same one.
@pytest.mark.parametrize("memory", ["global", "shared"])
@pytest.mark.parametrize("own", [True, False])
def test_races_of_bytes(gpu, capfd, memory, own):
    target = gpu.array(np.zeros(64, "b"))
    body = "mov.u64 %rd1, room;" * (memory == "shared") + "cvt.u64.u32 %rd2, %r0;"
    body += "add.s64 %rd1, %rd1, %rd2;" * own + f"st.{memory}.u8 [%rd1], %r0;"
    assert gpu.run(body, target, shared=64) == (0 if own else ILLEGAL_ADDRESS)
    assert ("a race with" in capfd.readouterr().err) != own


def test_runs_have_numbers_of_their_own_after_a_fault(gpu):
    """Or what a launch had written before it was broken off would be a race with the next one."""
    target = gpu.array(np.zeros(8, "i"))
    body = "st.global.u32 [%rd1], %r1;"
    broken = "setp.eq.s32 %p1, %r1, 7; @%p1 ld.global.u32 %r2, [%rd1+4096];"
    place = "mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd1, %rd1, %rd2;"
    assert gpu.run(place + body + broken, target, blocks=8, threads=1) == ILLEGAL_ADDRESS
    gpu.driver.virtual_gpu_lose_after(ctypes.c_uint64(2**64 - 1))
    gpu.driver.cuDevicePrimaryCtxReset(0)
    place = "mov.u32 %r1, %ctaid.x; xor.b32 %r2, %r1, 1; mul.wide.u32 %rd2, %r2, 4;"
    assert gpu.run(place + "add.s64 %rd1, %rd1, %rd2;" + body, target, blocks=8, threads=1) == 0


@pytest.mark.parametrize(
    "body, said",
    [("ld.global.u32 %r1, [%rd1+256];", "nobody has allocated"),
     ("ld.global.u32 %r1, [%rd1+-4];", "nobody has allocated"),
     ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+8];", "no multiple of 16"),
     ("mov.u64 %rd2, room; st.shared.u32 [%rd2+64], %r0;",
      "4 bytes of shared memory at 64, where there are 64"),
     ("setp.lt.s32 %p1, %r0, 16; @%p1 bra HALF; bar.sync 0; HALF: bar.warp.sync -1;",
      "wait for each other for ever"),
     ("setp.ge.s32 %p1, %r0, 16; @%p1 bra END; bar.warp.sync 0xffff; END:",
      "a barrier of a part of a warp")],
)  # fmt: skip
def test_what_a_kernel_must_not_do(gpu, capfd, body, said):
    assert gpu.run(body, gpu.array(np.zeros(64, "i")), shared=64) == ILLEGAL_ADDRESS
    assert said in capfd.readouterr().err


def test_memory_is_undefined_and_ends(gpu):
    place = ctypes.c_uint64()
    assert gpu.driver.cuMemAlloc(ctypes.byref(place), ctypes.c_size_t(64)) == 0
    assert np.isnan(gpu.fetch(place, np.zeros(16, "f"))).all()
    assert gpu.driver.cuMemFree(place) == 0
    assert gpu.driver.cuMemFree(place) == INVALID_VALUE
    assert gpu.driver.cuMemAlloc(ctypes.byref(place), ctypes.c_size_t(1 << 50)) == OUT_OF_MEMORY


def test_launches_beyond_what_a_block_has(gpu):
    status, kernel = gpu.load("mov.u32 %r1, 0;", pointers=0)
    assert status == 0
    assert gpu.launch(kernel, threads=256) == 0
    assert gpu.launch(kernel, threads=257) == INVALID_VALUE  # .maxntid
    assert gpu.launch(kernel, blocks=0) == INVALID_VALUE


@pytest.mark.parametrize(
    "body, said",
    [("wgmma.fence.sync.aligned;", "no such instruction here: wgmma.fence.sync.aligned"),
     ("{ call.uni (r), vprintf, (a, b); }", "no such function here: vprintf"),
     ("bra NOWHERE;", "no such label here: NOWHERE")],
)  # fmt: skip
def test_what_it_does_not_know_it_says(gpu, capfd, body, said):
    assert gpu.load(body)[0] == INVALID_IMAGE
    assert said in capfd.readouterr().err


def test_a_device_that_is_lost(gpu):
    status, kernel = gpu.load("mov.u32 %r1, 0;", pointers=0)
    assert status == 0
    gpu.driver.virtual_gpu_lose_after(ctypes.c_uint64(2))
    assert [gpu.launch(kernel) for _ in range(4)] == [0, 0, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("joined", [True, False])
def test_graphs_keep_to_what_waits_for_what(gpu, joined):
    """Of three launches the second does not wait for the first; the third waits for both, or is to.

    Each doubles a number and adds one of its own.
    """
    body = "ld.global.u32 %r1, [%rd1]; mad.lo.s32 %r1, %r1, 2, %r5; st.global.u32 [%rd1], %r1;"
    kernels = [gpu.load(f"mov.u32 %r5, {i}; {body}", pointers=1)[1] for i in (1, 2, 3)]
    target, driver = gpu.array(np.zeros(1, "i")), gpu.driver
    stream, graph, ready = (ctypes.c_void_p() for _ in range(3))
    driver.cuStreamCreate(ctypes.byref(stream), 1)
    assert driver.cuStreamBeginCapture(stream, 2) == 0
    nodes = []
    for i, kernel in enumerate(kernels):
        if i == 1:
            driver.cuStreamUpdateCaptureDependencies(stream, None, None, ctypes.c_size_t(0), 1)
        if i == 2 and joined:
            both = (ctypes.c_void_p * 2)(*nodes)
            driver.cuStreamUpdateCaptureDependencies(stream, both, None, ctypes.c_size_t(2), 1)
        assert gpu.launch(kernel, target, threads=1, stream=stream) == 0
        status, found, count = ctypes.c_int(), ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_size_t()
        driver.cuStreamGetCaptureInfo(stream, ctypes.byref(status), None, None, ctypes.byref(found),
                                      None, ctypes.byref(count))  # fmt: skip
        assert (status.value, count.value) == (1, 1)
        nodes.append(found[0])
    assert driver.cuStreamEndCapture(stream, ctypes.byref(graph)) == (0 if joined else UNJOINED)
    if not joined:
        return
    driver.cuGraphInstantiateWithFlags(ctypes.byref(ready), graph, ctypes.c_uint64(0))
    seen = set()
    for _ in range(20):
        driver.cuMemcpyHtoD(target, np.zeros(1, "i").ctypes.data_as(ctypes.c_void_p),
                            ctypes.c_size_t(4))  # fmt: skip
        assert driver.cuGraphLaunch(ready, None) == 0
        seen.add(int(gpu.fetch(target, np.zeros(1, "i"))[0]))
    assert seen == {(1 * 2 + 2) * 2 + 3, (2 * 2 + 1) * 2 + 3}
